"""`kctl lab up --reach`: this machine reaches pods and Services of a lab at their own addresses, and nothing beyond it does.

The machine and what lies beyond it are namespaces of the test's own (tests/support/outside.py).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.lab import layout, links, reach
from tests.support.labs import LabUnderTest, eventually, pod, running
from tests.support.outside import HOST, INTERNET, Outside, connects, outside, pages, ruleset

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    before = ruleset()
    with outside(tmp_path_factory.mktemp("outside") / "o") as found:
        found.resolv_conf.write_text(f"nameserver {INTERNET}\n")
        # What is dropped is dropped by rules, not for want of a route.
        for cidr in (layout.CLUSTER_CIDR, layout.SERVICE_CIDRS[layout.IPV4], reach.NODES):
            found.in_internet("ip", "route", "add", cidr, "via", HOST)
        yield found
    assert ruleset() == before


@pytest.fixture(scope="module")
def lab(world: Outside, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    folder = tmp_path_factory.mktemp("reach")
    with running("t-reach", folder, nodes=2, up=("--no-isolated", "--reach"), words=world.words) as found:
        yield found


def server(name: str, node: str) -> dict[str, Any]:
    """A pod that answers on port 80 once it is Ready."""
    serving = {
        "command": ["busybox", "httpd", "-f", "-p", "80", "-h", "/"],
        "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1},
    }
    found = pod(name, container=serving, nodeName=node, terminationGracePeriodSeconds=0)
    found["metadata"]["labels"] = {"app": "web"}
    return found


@pytest.fixture(scope="module")
def servers(lab: LabUnderTest) -> dict[str, str]:
    """The pods' addresses by node."""
    lab.apply(*(server(f"web-{node}", node) for node in ("node-1", "node-2")))
    lab.kctl("wait", "pod", "-l", "app=web", "--for=condition=Ready", "--timeout=60s")
    return {item["spec"]["nodeName"]: item["status"]["podIP"] for item in lab.get("pods", "-l", "app=web")["items"]}


def test_this_machine_reaches_pods_of_every_node(world: Outside, servers: dict[str, str]) -> None:
    for address in servers.values():
        assert connects(world.host, address, 80)


def test_nothing_beyond_this_machine_reaches_them(world: Outside, servers: dict[str, str], lab: LabUnderTest) -> None:
    """Nor the nodes; and the pods still reach the outside, as in every lab with an uplink."""
    for address in servers.values():
        assert not connects(world.internet, address, 80, seconds=1)
    node = layout.load(lab.name).address("node-1")
    with pages(Path(f"/proc/{lab.pid('node-1')}/ns/net"), node, 8099, "a process of the node"):
        assert connects(world.host, node, 8099)
        assert not connects(world.internet, node, 8099, seconds=1)
    lab.kctl("exec", "web-node-1", "--", "busybox", "ping", "-c", "1", "-W", "5", INTERNET)


def test_this_machine_asks_the_cluster_s_dns(world: Outside, lab: LabUnderTest) -> None:
    """As pods do, also over TCP; nothing beyond it does."""
    command = ["dig", "+short", "+tries=1", "+time=5", "@10.96.0.10", "kubernetes.default.svc.cluster.local"]
    # A node's resolver may start after `lab up` has returned.
    eventually(lambda: world.in_host(*command) == world.in_host(*command, "+tcp") == "10.96.0.1\n")
    assert "10.96.0.1\n" not in world.in_internet(*command, "+time=1", check=False)


def test_this_machine_reaches_services(world: Outside, servers: dict[str, str], lab: LabUnderTest) -> None:
    """Also when the node that leads to them is stopped, and has others again."""
    lab.apply(service("web", 8080))
    address = lab.get("service", "web")["spec"]["clusterIP"]
    eventually(lambda: connects(world.host, address, 8080))
    assert all(connects(world.host, address, 8080) for _ in range(10))
    assert not connects(world.internet, address, 8080)
    for cut in (("node-1",), ("node-2",)):
        lab.lab("cut", *cut)
        # Of a backend that is cut off nothing is reached: some of these are to the other one.
        assert any(connects(world.host, address, 8080, seconds=1) for _ in range(20)), cut
        lab.lab("heal", *cut)
    lab.kctl("delete", "pod", "web-node-1")
    lab.lab("node", "stop", "node-1")
    eventually(lambda: connects(world.host, address, 8080))
    lab.lab("node", "start", "node-1")
    lab.apply(server("web-node-1", "node-1"))
    eventually(lambda: connects(world.host, lab.get("pod", "web-node-1")["status"].get("podIP", "192.0.2.1"), 80))


POLICY = {
    "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "machine"},
    "spec": {"podSelector": {"matchLabels": {"app": "web"}}},
}  # fmt: skip


def test_a_policy_admits_this_machine_by_the_addresses_in_the_documentation(
    world: Outside, servers: dict[str, str], lab: LabUnderTest
) -> None:
    """The switch's; and of a Service, from the node that leads to it, the first address of that node's pod CIDR."""
    lab.apply(service("guarded", 8081))
    address = lab.get("service", "guarded")["spec"]["clusterIP"]
    eventually(lambda: connects(world.host, address, 8081))
    leading = lab.get("node", "node-1")["spec"]["podCIDR"].partition("/")[0]
    switch = layout.GATEWAY
    try:
        lab.apply(admitting(switch))
        eventually(lambda: not all(connects(world.host, address, 8081, seconds=1) for _ in range(10)))
        for item in lab.get("pods", "-l", "app=web")["items"]:
            assert connects(world.host, item["status"]["podIP"], 80), item["spec"]["nodeName"]
        lab.apply(admitting(switch, leading))
        eventually(lambda: all(connects(world.host, address, 8081, seconds=1) for _ in range(20)))
    finally:
        lab.kctl("delete", "networkpolicy", "machine")


def admitting(*addresses: str) -> dict[str, Any]:
    blocks = [{"ipBlock": {"cidr": f"{address}/32"}} for address in addresses]
    return POLICY | {"spec": {**POLICY["spec"], "ingress": [{"from": blocks}]}}


def service(name: str, port: int, **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": port, "targetPort": 80}], **more},
    }  # fmt: skip


def test_this_machine_reaches_node_ports_and_load_balancers(world: Outside, servers: dict[str, str], lab: LabUnderTest) -> None:
    """At every node's address and at the one that the Service got from the lab's pool; nothing beyond this machine does."""
    lab.apply(service("balanced", 8082, type="LoadBalancer"))
    eventually(lambda: lab.get("service", "balanced")["status"].get("loadBalancer"))
    found = lab.get("service", "balanced")
    pool = found["status"]["loadBalancer"]["ingress"][0]["ip"]
    port = found["spec"]["ports"][0]["nodePort"]
    record = layout.load(lab.name)
    for place in ((pool, 8082), *((record.address(node), port) for node in ("node-1", "node-2"))):
        eventually(functools.partial(connects, world.host, *place))
        assert not connects(world.internet, *place, seconds=1), place


def test_pods_reach_this_machine_by_name(world: Outside, servers: dict[str, str], lab: LabUnderTest) -> None:
    """A server that listens on all of the machine's addresses; its name needs no search domain and no file in the pod."""
    with pages(world.host, "0.0.0.0", 80, "the developer's server") as found:
        # Of Debian's static busybox, nslookup alone resolves names without the C library.
        said = lab.kctl("exec", "web-node-2", "--", "busybox", "nslookup", "host.pinnace.internal")
        address = re.findall(r"Address(?: 1)?: *([0-9.]+)", said)[-1]
        command = ("busybox", "timeout", "5", "busybox", "wget", "-q", "-O", "-", f"http://{address}/")
        assert lab.kctl("exec", "web-node-2", "--", *command) == "the developer's server"
        assert len(found.peers) == 1


def test_a_node_that_is_added_is_reached(world: Outside, lab: LabUnderTest) -> None:
    lab.lab("node", "add", "late")
    lab.apply(server("web-late", "late"))
    lab.kctl("wait", "pod", "web-late", "--for=condition=Ready", "--timeout=60s")
    assert connects(world.host, lab.get("pod", "web-late")["status"]["podIP"], 80)


def test_another_lab_cannot_have_the_same_addresses(
    world: Outside, lab: LabUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It is up, is not reached, and a warning names what has its addresses. This machine's routes to the first one stay."""
    other = LabUnderTest("t-reach2", tmp_path_factory.mktemp("other"), words=world.words)
    result = other.run("lab", "up", "--name", other.name, "--nodes", "1", "--no-isolated", "--reach", "--kubeconfig", "")
    try:
        assert result.returncode == 0, result.stderr
        said = result.stderr.decode()
        device = links.device(lab.name)
        assert (
            f"cannot reach the lab's pods ({layout.CLUSTER_CIDR}), for it has the route {layout.CLUSTER_CIDR} dev {device}"
            in said
        )
        assert device in world.in_host("ip", "route", "get", "10.244.0.1")
    finally:
        other.lab("down")


def test_another_lab_with_ranges_of_its_own_is_reached_too(
    world: Outside, lab: LabUnderTest, servers: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its pods and Services; its nodes have the first one's addresses, which one warning names."""
    other = LabUnderTest("t-reach3", tmp_path_factory.mktemp("third"), words=world.words)
    ranges = ("--control-arg=--cluster-cidr=10.50.0.0/16", "--control-arg=--service-cluster-ip-range=10.60.0.0/16")
    result = other.run(
        "lab", "up", "--name", other.name, "--nodes", "1", "--no-isolated", "--reach", "--kubeconfig", "", *ranges
    )
    try:
        assert result.returncode == 0, result.stderr
        assert result.stderr.decode().count("this machine cannot reach the lab's") == 1
        command = ("dig", "+short", "+tries=1", "@10.60.0.10", "kubernetes.default.svc.cluster.local")
        eventually(lambda: world.in_host(*command) == "10.60.0.1\n")
        assert connects(world.host, servers["node-2"], 80)
    finally:
        other.lab("down")


def test_reach_needs_an_uplink(lab: LabUnderTest) -> None:
    """Said before anything is made."""
    result = lab.run("lab", "up", "--name", "t-no", "--isolated", "--reach")
    assert (result.returncode, result.stderr) == (1, b"error: --reach needs the uplink: add --no-isolated\n")
