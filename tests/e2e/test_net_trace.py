"""`kctl net trace`: the hops of a real packet, and the place and the reason where it is dropped."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.labs import LabUnderTest, eventually, pod, running
from tests.support.nodenet import NodeNet

pytestmark = pytest.mark.root
SERVE = "mkdir -p /www; echo page > /www/index.html; exec httpd -f -p 8080 -h /www"


class Place:
    def __init__(self, lab: LabUnderTest) -> None:
        self.lab = lab
        there = pod("there", "sh", "-c", SERVE, nodeName="node-2")
        there["metadata"]["labels"] = {"app": "there"}
        here = pod("here", nodeName="node-1")
        here["metadata"]["labels"] = {"app": "here"}
        lab.apply(here, pod("near", nodeName="node-1"), there)
        pods = eventually(lambda: lab.all_running(["here", "near", "there"]))
        self.address = {name: str(item["status"]["podIP"]) for name, item in pods.items()}

    def trace(self, target: str, *flags: str) -> tuple[int, str]:
        result = self.lab.run("net", "trace", "here", target, *flags)
        assert result.returncode in (0, 1), result.stderr
        assert not result.stderr, result.stderr
        return result.returncode, result.stdout.decode()

    def net(self, node: str) -> NodeNet:
        return NodeNet(self.lab, node)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running("trace", tmp_path_factory.mktemp("trace"), nodes=2) as lab:
        yield Place(lab)


def kinds(text: str) -> list[str]:
    """Of the hops, in order, without the rules of nftables."""
    found = [line.split()[1] for line in text.splitlines() if line.startswith(("  ·", "  ✗"))]
    return [kind for kind in found if kind != "nft"]


ACROSS = ["veth", "bridge", "route", "neighbour", "fdb", "vtep", "underlay", "policy", "answer"]
ARRIVED = ["vtep", "route", "neighbour", "fdb", "veth", "policy"]


def test_a_packet_to_another_node(place: Place) -> None:
    code, text = place.trace("there:8080")
    assert (code, kinds(text)) == (0, ACROSS + ARRIVED), text
    assert text.strip().endswith(f"delivered to {place.address['there']}:8080")
    assert "answer    connected" in text
    assert "@bindings accept" in text


def test_an_echo_request_within_a_node(place: Place) -> None:
    code, text = place.trace("pod/near")
    assert code == 0, text
    assert kinds(text) == ["veth", "bridge", "route", "neighbour", "fdb", "veth", "policy", "policy", "answer"], text


def test_a_service(place: Place) -> None:
    """With its translation, and the endpoint's node."""
    spec: dict[str, Any] = {"selector": {"app": "there"}, "ports": [{"port": 80, "targetPort": 8080}]}
    place.lab.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec})
    address = place.lab.get("service", "web")["spec"]["clusterIP"]
    translated = f"service   {address}:80 is translated to {place.address['there']}:8080"

    def followed() -> str:
        text = place.trace("service/web")[1]
        return text if translated in text else ""

    text = eventually(followed)
    assert text.strip().endswith(f"delivered to {place.address['there']}:8080")
    assert "node-2:" in text


def test_a_service_that_does_not_answer(place: Place) -> None:
    """It has no endpoints at all, none on the client's node, or is none."""
    ports = [{"port": 80, "targetPort": 8080}]
    for name, spec in (
        ("nothing", {"selector": {"app": "nothing"}}),
        ("elsewhere", {"selector": {"app": "there"}, "internalTrafficPolicy": "Local"}),
    ):
        place.lab.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": ports, **spec}})
    address = {name: place.lab.get("service", name)["spec"]["clusterIP"] for name in ("nothing", "elsewhere")}

    def ends(target: str, reason: str) -> bool:
        code, text = place.trace(target)
        return code == 1 and text.strip().endswith(f"dropped: node-1: service {reason}")

    eventually(lambda: ends("service/nothing", f"{address['nothing']}:80: the Service has no endpoints"))
    local = "the Service has no endpoints on this node, and its traffic policy is Local"
    eventually(lambda: ends("service/elsewhere", f"{address['elsewhere']}:80: {local}"))
    missing = f"{address['nothing']}:81"
    eventually(lambda: ends(missing, f"{missing}: no Service has this address, protocol and port"))
    place.lab.kctl("delete", "service", "nothing", "elsewhere")


def test_a_policy_that_denies_is_named(place: Place) -> None:
    metadata = {"name": "closed"}
    spec = {"podSelector": {"matchLabels": {"app": "there"}}, "policyTypes": ["Ingress"]}
    place.lab.apply({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec})
    try:
        code, text = eventually(lambda: (found := place.trace("there:8080"))[0] and found)
        assert code == 1
        assert text.strip().endswith("dropped: node-2: policy ingress: denied by default/closed")
        assert any(line.startswith("  ✗ nft") and line.endswith("drop") for line in text.splitlines()), text
    finally:
        place.lab.kctl("delete", "networkpolicy", "closed")
    eventually(lambda: place.trace("there:8080")[0] == 0)


@contextlib.contextmanager
def closed(place: Place, name: str) -> Iterator[None]:
    """No pod may send anything."""
    spec = {"podSelector": {}, "policyTypes": ["Egress"]}
    place.lab.apply({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec})
    try:
        eventually(lambda: place.trace("near:8080")[1].strip().endswith(f"policy egress: denied by default/{name}"))
        yield
    finally:
        place.lab.kctl("delete", "networkpolicy", name)


def test_what_policies_do_not_restrict_is_delivered(place: Place) -> None:
    """The node itself, its DNS and pods in its network, and the pod itself, also through a Service."""
    node = place.lab.get("node", "node-1")["status"]["addresses"][0]["address"]
    dns = place.lab.get("service", "kube-dns", "-n", "kube-system")["spec"]["clusterIP"]
    spec: dict[str, Any] = {"selector": {"app": "here"}, "ports": [{"port": 80, "targetPort": 8080}]}
    place.lab.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "itself"}, "spec": spec})
    with closed(place, "outward"):
        for target, flags in ((f"{dns}:53", ["--protocol", "udp"]), (f"{dns}:53", []), (node, [])):
            code, text = place.trace(target, *flags)
            assert code == 0, text
            assert "policy    not restricted: the packet does not leave the node" in text
        code, text = place.trace("pod/here:8080")
        assert code == 0, text
        eventually(lambda: "policy    not restricted: a pod reaches itself" in place.trace("service/itself")[1])
        code, text = place.trace("service/itself")
        assert code == 0, text
    place.lab.kctl("delete", "service", "itself")


def test_sctp(place: Place) -> None:
    """An INIT, by the rules of a Service's port, to a kernel that may lack SCTP."""
    ports = [{"name": "signal", "port": 132, "targetPort": 1320, "protocol": "SCTP"}]
    spec = {"selector": {"app": "there"}, "ports": ports}
    place.lab.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "sctp"}, "spec": spec})
    translated = f"is translated to {place.address['there']}:1320"

    def followed() -> str:
        code, text = place.trace("service/sctp:signal")
        return text if code == 0 and translated in text else ""

    text = eventually(followed)
    assert ":132, sctp)" in text
    assert text.strip().endswith(f"delivered to {place.address['there']}:1320")
    assert "node-2:" in text
    with closed(place, "outward"):
        code, text = place.trace("there:1320", "--protocol", "sctp")
        assert (code, text.strip().splitlines()[-1]) == (1, "dropped: node-1: policy egress: denied by default/outward")
    place.lab.kctl("delete", "service", "sctp")


def test_an_address_outside_of_the_cluster_that_nothing_answers_at(place: Place) -> None:
    """A route to a network in which no host has it; without a route it is dropped here."""
    node = place.net("node-1")
    node.shell("ip route add 203.0.113.0/24 dev eth0")
    try:
        code, text = place.trace("203.0.113.9:9", "--wait", "6s")
        assert code == 1, text
        assert text.strip().endswith("dropped: node-1: answer No route to host")
        code, text = place.trace("203.0.113.9:9", "--protocol", "udp", "--wait", "0.5s")
        assert code == 0, text
        assert text.strip().endswith("sent to 203.0.113.9:9, outside of the cluster: its arrival is not followed")
    finally:
        node.shell("ip route del 203.0.113.0/24 dev eth0")


def test_an_address_that_no_node_has(place: Place) -> None:
    code, text = place.trace("10.244.200.7:80")
    assert code == 1
    assert text.strip().endswith("dropped: node-1: route 10.244.200.7: no node has this address: blackhole")


@contextlib.contextmanager
def repeated(net: NodeNet, command: str) -> Iterator[None]:
    """A command again and again, faster than the agent repairs."""
    line = f"while :; do {command} 2>/dev/null; done"
    with subprocess.Popen(["nsenter", f"--net={net.namespace}", "sh", "-c", line]) as process:
        try:
            yield
        finally:
            process.kill()


def test_a_missing_entry_is_named(place: Place) -> None:
    """As the kernel has it at this moment, not as it should be."""
    net = place.net("node-1")
    cidr = str(place.lab.get("node", "node-2")["spec"]["podCIDR"])
    vtep = cidr.partition("/")[0]
    mac = net.on("ip", "neigh", "show", vtep).split("lladdr ")[1].split()[0]
    with repeated(net, f"bridge fdb del {mac} dev pinnace-vx"):
        code, text = place.trace("there:8080", "--wait", "1s")
    assert code == 1
    assert f"dropped: node-1: fdb {mac} dev pinnace-vx: no host" in text
    with repeated(net, f"ip neigh del {vtep} dev pinnace-vx"):
        code, text = place.trace("there:8080", "--wait", "1s")
    assert code == 1
    assert f"dropped: node-1: neighbour {vtep} dev pinnace-vx: no MAC address" in text
    eventually(lambda: place.trace("there:8080")[0] == 0)


def test_packets_that_the_underlay_loses(place: Place) -> None:
    """They leave one node and do not come to the other, whose agent still answers."""
    net = place.net("node-2")
    net.shell("nft 'add table ip cut; add chain ip cut c { type filter hook prerouting priority -500; }; "
              "add rule ip cut c udp dport 4789 drop'")  # fmt: skip
    try:
        code, text = place.trace("there:8080", "--wait", "1s")
    finally:
        net.on("nft", "delete", "table", "ip", "cut")
    assert code == 1
    assert "dropped: node-2: underlay no packet from" in text


def test_nothing_of_a_trace_is_left(place: Place) -> None:
    place.trace("there:8080")
    for node in ("node-1", "node-2"):
        assert "pinnace-trace" not in place.net(node).on("nft", "list", "tables")
