"""Nodes whose hosts are in the way of the network, and nodes that move: named in the node's conditions, and followed by the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.test_network_repair import Place
from tests.support.labs import LabUnderTest, eventually, running
from tests.support.nodenet import NodeNet

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running("clashes", tmp_path_factory.mktemp("clashes"), nodes=2) as lab:
        yield Place(lab)


def unavailable(lab: LabUnderTest, node: str) -> dict[str, Any]:
    """The node's condition NetworkUnavailable. KeyError while it has none."""
    conditions = lab.get("node", node)["status"]["conditions"]
    found = [item for item in conditions if item["type"] == "NetworkUnavailable"]
    if not found:
        raise KeyError(node)
    return dict(found[0])


@pytest.mark.parametrize(
    ("clash", "removal", "said"),
    [
        (
            "ip route add 10.244.128.0/17 dev eth0", "ip route del 10.244.128.0/17",
            "the pod CIDR 10.244.0.0/16 has the host's route 10.244.128.0/17 dev eth0",
        ),
        (
            "ip address add 10.244.200.1/32 dev eth0", "ip address del 10.244.200.1/32 dev eth0",
            "the pod CIDR 10.244.0.0/16 has the host's address 10.244.200.1 (dev eth0)",
        ),
        (
            "ip link del pinnace-vx; ip link add pinnace-vx type veth peer name other0", "ip link del pinnace-vx",
            "the host has a device pinnace-vx, which is no vxlan but veth",
        ),
    ],
)  # fmt: skip
def test_a_clash_is_named_until_it_is_gone(place: Place, clash: str, removal: str, said: str) -> None:
    """An agent that starts refuses to set up the network, and does once it can."""
    place.lab.kill("node-1")
    place.net.shell(clash)
    try:
        place.lab.start_agent("node-1")
        found = eventually(lambda: (item := unavailable(place.lab, "node-1"))["status"] == "True" and item)
        assert found["reason"] == "NetworkSetupFailed"
        assert said in found["message"]
        for flags in ((), ("--fix",)):
            verified = place.lab.run("net", "verify", *flags)
            assert verified.returncode == 1
            assert f"error: node node-1: {said}" in verified.stderr.decode()
            assert verified.stdout.strip().endswith(b"1 node as wanted, 0 with differences, 1 with problems")
    finally:
        place.net.shell(removal)
    found = eventually(lambda: (item := unavailable(place.lab, "node-1"))["status"] == "False" and item)
    assert found["reason"] == "NetworkIsSetUp"
    eventually(place.reached)


def test_a_clash_that_appears_later_is_named_until_it_is_gone(place: Place) -> None:
    """The host's route takes half of the other node's pods; it is not the agent's to delete."""
    eventually(place.reached)
    half = place.names["CIDR"].replace("/24", "/25")
    said = f"the pod CIDR 10.244.0.0/16 has the host's route {half} dev eth0"
    place.net.shell(f"ip route add {half} dev eth0")
    try:
        found = eventually(lambda: (item := unavailable(place.lab, "node-1"))["status"] == "True" and item)
        assert found["reason"] == "NetworkClash"
        assert said in found["message"]
        for flags in ((), ("--fix",)):
            verified = place.lab.run("net", "verify", *flags)
            assert verified.returncode == 1
            assert f"error: node node-1: {said}" in verified.stderr.decode()
        assert half in place.net.shell("ip route")
    finally:
        place.net.shell(f"ip route del {half}")
    eventually(lambda: unavailable(place.lab, "node-1")["status"] == "False")
    eventually(place.reached)
    assert place.lab.kctl("net", "verify").strip().endswith("2 nodes as wanted, 0 with differences")


def test_a_node_that_changes_its_address_is_followed(place: Place) -> None:
    """Its agent starts with another address of the underlay; the other node sends there."""
    net = NodeNet(place.lab, "node-2")
    eventually(place.reached)
    old = place.address("node-2")
    new = f"{old.rpartition('.')[0]}.77"
    place.lab.kill("node-2")
    net.shell(f"ip address del {old}/24 dev eth0; ip address add {new}/24 dev eth0")
    # A lab gives its nodes addresses by number.
    number = place.lab.record["nodes"]["node-2"]
    moved = f"lab.nodes['node-2'] = 67; processes.start_agent(lab, 'node-2'); lab.nodes['node-2'] = {number}"
    place.lab._start(moved)
    eventually(lambda: f"dst {new}" in place.net.on("bridge", "fdb", "show", "dev", "pinnace-vx"))
    assert f"dst {old}" not in place.net.on("bridge", "fdb", "show", "dev", "pinnace-vx")
    eventually(place.reached)
    assert place.lab.kctl("net", "verify").strip().endswith("2 nodes as wanted, 0 with differences")
