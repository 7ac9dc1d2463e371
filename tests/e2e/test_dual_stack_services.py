"""Services, names and policies of a dual-stack cluster, in both IP families, with real packets."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import frames
from tests.support.dualstack import by_family
from tests.support.labs import LabUnderTest, eventually, pod, running

pytestmark = pytest.mark.root
FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
# Serves its name on a port of its own.
SERVE = ("sh", "-c", "mkdir /tmp/www; hostname > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www")
BACKENDS = {"web-1": "node-1", "web-2": "node-2"}
CLIENTS = {"client-1": "node-1", "client-2": "node-2"}


class Place:
    """A lab of two nodes with a backend and a client on each."""

    def __init__(self, lab: LabUnderTest) -> None:
        self.lab = lab
        manifests = [pod(name, *SERVE, nodeName=node) for name, node in BACKENDS.items()]
        manifests += [pod(name, nodeName=node) for name, node in CLIENTS.items()]
        for manifest in manifests:
            manifest["metadata"]["labels"] = {"app": manifest["metadata"]["name"].partition("-")[0]}
        lab.apply(*manifests)
        self.pods = eventually(lambda: lab.all_running([*BACKENDS, *CLIENTS]))

    def of(self, name: str) -> Path:
        return Path(f"/proc/{self.lab.state(self.pods[name])['pid']}/ns/net")

    def host(self, name: str) -> Path:
        return Path(f"/run/pinnace/labs/{self.lab.name}/ns/{name}.net")

    def inside(self, namespace: Path, *command: str) -> str:
        enter = ["nsenter", f"--net={namespace}", *command]
        return subprocess.run(enter, capture_output=True, text=True, check=True, timeout=30).stdout

    def mac(self, node: str) -> str:
        """On the underlay."""
        return str(json.loads(self.inside(self.host(node), "ip", "-j", "link", "show", "eth0"))[0]["address"])

    def ips(self, name: str) -> dict[int, str]:
        return by_family([item["ip"] for item in self.pods[name]["status"]["podIPs"]])

    def underlay(self, node: str) -> dict[int, str]:
        found = self.lab.get("node", node)["status"]["addresses"]
        return by_family([item["address"] for item in found if item["type"] == "InternalIP"])

    def service(self, name: str, **spec: Any) -> dict[str, Any]:
        """Made anew; returns it as the API has it."""
        self.lab.run("delete", "service", name, "--ignore-not-found")
        ports = [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]
        metadata = {"name": name, "namespace": "default"}
        self.lab.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata,
                        "spec": {"selector": {"app": "web"}, "ports": ports, **spec}})  # fmt: skip
        found: dict[str, Any] = self.lab.get("service", name)
        return found


def fetch(namespace: Path, address: str, port: int = 80, *, within: float = 3.0) -> str:
    """The name of the backend that answers. Raises OSError."""

    def ask() -> str:
        with socket.create_connection((address, port), timeout=within) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: sock.recv(4096), b"")).decode().rpartition("\r\n\r\n")[2].strip()

    return frames.within(namespace, ask)


def all_answer(namespace: Path, address: str, port: int = 80) -> bool:
    """Each backend does, as the node has programmed the Service."""
    with contextlib.suppress(OSError):
        return {fetch(namespace, address, port) for _ in range(40)} == set(BACKENDS)
    return False


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running("t-dualsvc", tmp_path_factory.mktemp("dualsvc"), nodes=2, up=("--ip-family", "dual")) as lab:
        yield Place(lab)


def test_families_of_a_service_follow_its_policy(place: Place) -> None:
    """The primary one by default; both where they are preferred or required; one that is named."""
    found = {}
    for name, spec in (
        ("single", {}), ("prefer", {"ipFamilyPolicy": "PreferDualStack"}), ("require", {"ipFamilyPolicy": "RequireDualStack"}),
        ("six", {"ipFamilies": ["IPv6"]}),
        ("reversed", {"ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "RequireDualStack"}),
    ):  # fmt: skip
        spec_ = place.service(name, **spec)["spec"]
        assert spec_["clusterIP"] == spec_["clusterIPs"][0]
        assert [":" in ip for ip in spec_["clusterIPs"]] == [family == "IPv6" for family in spec_["ipFamilies"]]
        found[name] = (spec_["ipFamilyPolicy"], spec_["ipFamilies"])
    assert found == {
        "single": ("SingleStack", ["IPv4"]), "prefer": ("PreferDualStack", ["IPv4", "IPv6"]),
        "require": ("RequireDualStack", ["IPv4", "IPv6"]), "six": ("SingleStack", ["IPv6"]),
        "reversed": ("RequireDualStack", ["IPv6", "IPv4"]),
    }  # fmt: skip
    for name in found:
        place.lab.kctl("delete", "service", name)


def test_a_service_gets_and_loses_its_second_family(place: Place) -> None:
    """Its first address stays; endpoints of the second family come and go."""

    def slices() -> set[str]:
        items = place.lab.get("endpointslices", "-l", "kubernetes.io/service-name=grows")["items"]
        return {item["addressType"] for item in items if item.get("endpoints")}

    first = place.service("grows")["spec"]["clusterIP"]
    eventually(lambda: slices() == {"IPv4"})
    place.lab.kctl("patch", "service", "grows", "-p", '{"spec":{"ipFamilyPolicy":"PreferDualStack"}}')
    spec = place.lab.get("service", "grows")["spec"]
    assert (spec["clusterIPs"][0], spec["ipFamilies"]) == (first, ["IPv4", "IPv6"])
    eventually(lambda: slices() == {"IPv4", "IPv6"})
    eventually(lambda: all_answer(place.of("client-1"), spec["clusterIPs"][1]))
    place.lab.kctl("patch", "service", "grows", "-p", '{"spec":{"ipFamilyPolicy":"SingleStack"}}')
    assert place.lab.get("service", "grows")["spec"]["clusterIPs"] == [first]
    eventually(lambda: slices() == {"IPv4"})
    place.lab.kctl("delete", "service", "grows")


@FAMILIES
def test_a_cluster_ip_leads_to_every_backend(place: Place, family: int) -> None:
    """From pods and processes of both nodes, and from a backend to itself."""
    address = by_family(place.service("web", ipFamilyPolicy="RequireDualStack")["spec"]["clusterIPs"])[family]
    sources = [place.of(name) for name in (*CLIENTS, *BACKENDS)] + [place.host("node-1"), place.host("node-2")]
    for source in sources:
        eventually(lambda source=source: all_answer(source, address))


@FAMILIES
def test_a_node_port_answers_on_each_node(place: Place, family: int) -> None:
    """From a host that is no node, and from a pod."""
    service = place.service("ports", ipFamilyPolicy="RequireDualStack", type="NodePort")
    port = int(service["spec"]["ports"][0]["nodePort"])
    for node in ("node-1", "node-2"):
        for source in (place.host("control"), place.of("client-1")):
            eventually(lambda source=source, node=node: all_answer(source, place.underlay(node)[family], port))


@FAMILIES
def test_an_address_of_the_load_balancer_is_reached_from_the_underlay(place: Place, family: int) -> None:
    """By a host that is no node, which asks who has it; one node answers, and none once the Service is gone."""
    place.service("lb", ipFamilyPolicy="RequireDualStack", type="LoadBalancer")

    def addresses() -> dict[int, str]:
        found = place.lab.get("service", "lb")["status"]["loadBalancer"].get("ingress", [])
        return by_family([item["ip"] for item in found])

    address = eventually(lambda: addresses())[family]
    eventually(lambda: all_answer(place.host("control"), address))
    node = place.lab.get("service", "lb")["metadata"]["annotations"]["pinnace.dev/announced-by"]
    neighbour = place.inside(place.host("control"), "ip", "neigh", "show", address)
    assert place.mac(node) in neighbour
    # Its own packets have another source.
    outside = {4: "198.51.100.1", 6: "2001:db8:c633:64::1"}[family]
    with frames.senders(place.host("control"), outside) as got:
        frames.send_udp(place.host(node), (outside, frames.PORT), b"own")
        assert {sender for _, sender in got()} == {place.underlay(node)[family]}
    routes = ("ip", f"-{family}", "route", "show", "table", "all")
    assert address in place.inside(place.host(node), *routes)
    place.lab.kctl("delete", "service", "lb")
    eventually(lambda: address not in place.inside(place.host(node), *routes))


@FAMILIES
def test_a_service_without_endpoints_refuses(place: Place, family: int) -> None:
    """At once, as kube-proxy does."""
    service = place.service("empty", ipFamilyPolicy="RequireDualStack", selector={"app": "nobody"})
    address = by_family(service["spec"]["clusterIPs"])[family]

    def refused() -> bool:
        try:
            fetch(place.of("client-1"), address, within=1)
        except ConnectionRefusedError:
            return True
        except OSError:
            pass
        return False

    eventually(refused)


def test_names_have_addresses_of_both_families(place: Place) -> None:
    """A and AAAA of a Service, of a headless one and of a pod; none of a family that a Service does not have."""
    both = place.service("web", ipFamilyPolicy="RequireDualStack")["spec"]["clusterIPs"]
    single = place.service("single")["spec"]["clusterIPs"]
    six = place.service("six", ipFamilies=["IPv6"])["spec"]["clusterIPs"]
    place.service("head", ipFamilyPolicy="RequireDualStack", clusterIP="None")
    pods = [ip for name in BACKENDS for ip in place.ips(name).values()]
    for name, wanted in (("web", both), ("single", single), ("six", six), ("head", pods)):
        eventually(lambda name=name, wanted=wanted: sorted(lookup(place, name)) == sorted(wanted))


def lookup(place: Place, name: str) -> list[str]:
    said = place.lab.run("exec", "client-1", "--", "nslookup", f"{name}.default.svc.cluster.local").stdout.decode()
    answer = said.partition("\nName:")[2]
    return [line.removeprefix("Address: ").strip() for line in answer.splitlines() if line.startswith("Address: ")]


def policy(name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def reached(place: Place, source: str, target: str, family: int) -> bool:
    try:
        return fetch(place.of(source), place.ips(target)[family], 8080, within=1) == target
    except OSError:
        return False


@pytest.fixture
def policies(place: Place) -> Iterator[None]:
    yield
    place.lab.kctl("delete", "networkpolicies", "--all")


@FAMILIES
@pytest.mark.usefixtures("policies")
def test_policies_hold_in_both_families(place: Place, family: int) -> None:
    """Default deny, then pods by label, then an address range, for backends of this node and of another."""
    pairs = [(source, target) for source in CLIENTS for target in BACKENDS]
    assert all(reached(place, *pair, family) for pair in pairs)
    web = {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]}
    place.lab.apply(policy("deny", **web))
    eventually(lambda: not any(reached(place, *pair, family) for pair in pairs))
    clients = [{"podSelector": {"matchLabels": {"app": "client"}}}]
    place.lab.apply(policy("clients", **web, ingress=[{"from": clients}]))
    eventually(lambda: all(reached(place, *pair, family) for pair in pairs))
    place.lab.kctl("delete", "networkpolicy", "clients")
    eventually(lambda: not any(reached(place, *pair, family) for pair in pairs))
    own = place.ips("client-1")[family]
    block = {"cidr": f"{own}/{128 if family == 6 else 32}"}
    place.lab.apply(policy("block", **web, ingress=[{"from": [{"ipBlock": block}]}]))
    eventually(lambda: [reached(place, *pair, family) for pair in pairs] == [source == "client-1" for source, _ in pairs])


@FAMILIES
@pytest.mark.usefixtures("policies")
def test_frames_from_port_to_port_do_not_go_around_policies(place: Place, family: int) -> None:
    """Past the node's own stack, with the neighbour's MAC address or to all: with NET_RAW a pod sends what frames it wants. Where
    br_netfilter is off: it would show the policies' rules what the bridge forwards."""
    off = [f"net.bridge.bridge-nf-call-{name}=0" for name in ("iptables", "ip6tables")]
    if Path("/proc/sys/net/bridge").exists():
        place.inside(place.host("node-1"), "sysctl", "-qw", *off)
    web = {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]}
    place.lab.apply(policy("deny", **web))
    eventually(lambda: not reached(place, "client-1", "web-1", family))
    own, target = (json.loads(place.inside(place.of(name), "ip", "-j", "link", "show", "eth0"))[0]["address"]
                   for name in ("client-1", "web-1"))  # fmt: skip
    packet = (frames.ipv6_udp if family == 6 else frames.ipv4_udp)(
        place.ips("client-1")[family], place.ips("web-1")[family], b"around"
    )
    kind = frames.ETH_IPV6 if family == 6 else frames.ETH_IP
    with frames.listening(place.of("web-1"), place.ips("web-1")[family]) as got:
        for mac in (target, "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01", "01:00:5e:00:00:01"):
            frames.send_frame(place.of("client-1"), "eth0", frames.ethernet(own, mac, packet, kind))
        assert got() == []
        # The same packet by way of the node, once it is allowed.
        place.lab.kctl("delete", "networkpolicy", "deny")
        eventually(lambda: reached(place, "client-1", "web-1", family))
        bridge = json.loads(place.inside(place.host("node-1"), "ip", "-j", "link", "show", "pinnace0"))[0]["address"]
        frames.send_frame(place.of("client-1"), "eth0", frames.ethernet(own, bridge, packet, kind))
        assert got() == [b"around"] * 3


@FAMILIES
@pytest.mark.usefixtures("policies")
def test_a_trace_names_policies_in_both_families(place: Place, family: int) -> None:
    """Of the pod that a Service leads to, at its port: the packet's own source and both ends' policies."""
    service = place.service("traced", ipFamilyPolicy="PreferDualStack")
    address = by_family(service["spec"]["clusterIPs"])[family]
    place.lab.apply(
        policy(
            "port", podSelector={"matchLabels": {"app": "web"}}, policyTypes=["Ingress"], ingress=[{"ports": [{"port": 8080}]}]
        ),
        policy(
            "out", podSelector={"matchLabels": {"app": "client"}}, policyTypes=["Egress"], egress=[{"ports": [{"port": 8080}]}]
        ),
    )
    eventually(lambda: all_answer(place.of("client-1"), address))
    target = f"[{address}]:80" if family == 6 else f"{address}:80"
    text = place.lab.kctl("net", "trace", "client-1", target)
    assert text.startswith(f"client-1 ({place.ips('client-1')[family]}, node-1) -> {target} (tcp)")
    assert f"service   {target} is translated to " in text
    assert "policy    egress: allowed by default/out" in text
    assert "policy    ingress: allowed by default/port" in text


@FAMILIES
@pytest.mark.usefixtures("policies")
def test_egress_policies_hold_in_both_families(place: Place, family: int) -> None:
    """To one backend alone, by its own address and by that of a Service."""
    target = place.ips("web-2")[family]
    block = {"cidr": f"{target}/{128 if family == 6 else 32}"}
    selector = {"podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Egress"]}
    address = by_family(place.service("web", ipFamilyPolicy="RequireDualStack")["spec"]["clusterIPs"])[family]
    eventually(lambda: all_answer(place.of("client-1"), address))
    place.lab.apply(policy("one", **selector, egress=[{"to": [{"ipBlock": block}]}]))
    for source in CLIENTS:
        eventually(lambda source=source: [reached(place, source, name, family) for name in BACKENDS] == [False, True])
