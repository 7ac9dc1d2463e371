"""Nodes whose address on the underlay changes while their agents run: followed by all, with pods and connections as they were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.lab import layout
from tests.e2e.test_network_clashes import unavailable
from tests.support.conversations import Conversation
from tests.support.labs import LabUnderTest, eventually, pod, running
from tests.support.nodenet import NodeNet

pytestmark = pytest.mark.root
# Agents find their addresses themselves, unlike those of other labs.
FOUND = "--address="


class Place:
    """A pod on each node, and one on the host network of node-2, whose address changes."""

    def __init__(self, lab: LabUnderTest) -> None:
        self.lab, self.net, self.other = lab, NodeNet(lab, "node-2"), NodeNet(lab, "node-1")
        lab.apply(
            pod("here", nodeName="node-1"), pod("there", nodeName="node-2"), pod("host", nodeName="node-2", hostNetwork=True)
        )
        eventually(lambda: lab.all_running(["here", "there", "host"]))

    @property
    def pods(self) -> dict[str, Any]:
        return self.lab.pods()

    def netns(self, name: str) -> Path:
        return Path(f"/proc/{self.lab.state(self.pods[name])['pid']}/ns/net")

    def conversations(self) -> list[Conversation]:
        """One each way."""
        pods = self.pods
        ends = [("here", "there"), ("there", "here")]
        return [Conversation(self.netns(a), self.netns(b), pods[b]["status"]["podIP"]) for a, b in ends]

    def address(self, node: str = "node-2") -> str:
        """As the Node has it."""
        found = self.lab.get("node", node)["status"]["addresses"]
        return next(str(item["address"]) for item in found if item["type"] == "InternalIP")

    def vxlan(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.net.on("ip", "-d", "-j", "link", "show", "pinnace-vx"))[0]
        return {"index": found["ifindex"], **found["linkinfo"]["info_data"]}

    def log(self, node: str) -> str:
        return layout.load(self.lab.name).log(node).read_text()

    def as_wanted(self) -> bool:
        return self.lab.kctl("net", "verify").strip().endswith("2 nodes as wanted, 0 with differences")


@pytest.fixture(scope="module", params=["ipv4", "ipv6"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    family, folder = request.param, tmp_path_factory.mktemp("moving")
    with running(f"moving{family[-1]}", folder, nodes=2, agent=(FOUND,), up=("--ip-family", family)) as lab:
        yield Place(lab)


@pytest.fixture
def conversations(place: Place) -> Iterator[list[Conversation]]:
    made = place.conversations()
    yield made
    for conversation in made:
        conversation.close()


def written(address: str) -> str:
    """As iproute2 wants it, usable at once."""
    return f"{address}/64 dev eth0 nodad" if ":" in address else f"{address}/24 dev eth0"


def neighbour(address: str, last: str) -> str:
    """Another address of the same network."""
    separator = ":" if ":" in address else "."
    return f"{address.rpartition(separator)[0]}{separator}{last}"


def replace(place: Place, old: str, new: str) -> None:
    place.net.shell(f"ip address del {written(old).removesuffix(' nodad')}; ip address add {written(new)}")


def followed(place: Place, old: str, new: str) -> None:
    """Wait until every part has the new address, and none the old one."""
    eventually(lambda: place.address() == new)
    eventually(lambda: f"dst {new}" in (fdb := place.other.on("bridge", "fdb", "show", "dev", "pinnace-vx")) and old not in fdb)
    eventually(lambda: new in (guard := place.other.on("nft", "list", "table", "inet", "pinnace")) and old not in guard)
    assert place.vxlan()["local6" if ":" in new else "local"] == new
    eventually(place.as_wanted)


def test_an_address_that_changes_is_followed(place: Place, conversations: list[Conversation]) -> None:
    """There and back: pods keep their addresses and connections, and report the new one as their node's."""
    old, before = place.address(), place.pods
    new = neighbour(old, "77")
    for source, target in ((old, new), (new, old)):
        replace(place, source, target)
        followed(place, source, target)
        assert all(conversation.goes_on() for conversation in conversations)
        eventually(lambda target=target: place.pods["there"]["status"]["hostIP"] == target)
        eventually(lambda target=target: place.pods["host"]["status"]["podIP"] == target)
    for name, item in place.pods.items():
        assert item["metadata"]["uid"] == before[name]["metadata"]["uid"]
        assert item["status"]["podIPs"] == before[name]["status"]["podIPs"]
        assert item["status"]["containerStatuses"][0]["restartCount"] == 0
    said = place.lab.kctl("get", "events", "--field-selector", "reason=NodeAddressChanged", "-o", "json", "-A")
    assert f"{old} -> {new}" in {item["message"] for item in json.loads(said)["items"]}


def test_a_second_address_moves_nothing_until_the_first_is_gone(place: Place, conversations: list[Conversation]) -> None:
    old = place.address()
    new = neighbour(old, "78")
    place.net.shell(f"sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1; ip address add {written(new)}")
    changes = place.log("node-2").count("address_changed")
    # Each comparison begins with the node's addresses: after a repair it has seen this one.
    place.net.shell("ip link set pinnace0 mtu 1290")
    eventually(lambda: "mtu 1290" not in place.net.on("ip", "link", "show", "pinnace0"))
    eventually(place.as_wanted)
    assert (place.address(), place.log("node-2").count("address_changed")) == (old, changes)
    place.net.shell(f"ip address del {written(old).removesuffix(' nodad')}")
    followed(place, old, new)
    assert all(conversation.goes_on() for conversation in conversations)
    replace(place, new, old)
    followed(place, new, old)


def test_a_node_without_an_address_waits_for_one(place: Place, conversations: list[Conversation]) -> None:
    """The kernel would send from the bridge's address, which is never taken for the node's; nothing is taken down meanwhile."""
    old, index = place.address(), place.vxlan()["index"]
    family = "-6" if ":" in old else "-4"
    place.net.shell(f"ip {family} route add default dev eth0 metric 9000; ip address del {written(old).removesuffix(' nodad')}")
    try:
        eventually(lambda: "this host has no" in place.log("node-2").rpartition("network_setup_failed")[2])
    finally:
        place.net.shell(f"ip address add {written(old)}; ip {family} route replace default dev eth0 metric 9000")
    assert all(conversation.goes_on() for conversation in conversations)
    place.net.shell(f"ip {family} route del default dev eth0 metric 9000")
    eventually(place.as_wanted)
    assert (place.address(), place.vxlan()["index"]) == (old, index)
    bridges = "fd00:10:244:" if ":" in old else "10.244."
    assert bridges not in "".join(line for line in place.log("node-2").splitlines() if "address_changed" in line)


def test_an_address_inside_of_the_pod_range_is_refused(place: Place, conversations: list[Conversation]) -> None:
    """It is named in the log, as the node is out of reach, and never told to the other nodes."""
    old, control = place.address(), layout.load(place.lab.name).address(layout.CONTROL)
    new = "fd00:10:244:c::5" if ":" in old else "10.244.200.5"
    place.net.shell(
        f"ip address del {written(old).removesuffix(' nodad')}; ip address add {written(new)}; "
        f"ip route add {control} dev eth0 src {new}"
    )
    try:
        eventually(lambda: f"has this node's address {new}" in place.log("node-2"))
    finally:
        place.net.shell(f"ip route del {control} dev eth0; ip address del {written(new).removesuffix(' nodad')}")
        place.net.shell(f"ip address add {written(old)}")
    assert all(conversation.goes_on() for conversation in conversations)
    assert new not in place.other.on("nft", "list", "table", "inet", "pinnace")
    eventually(place.as_wanted)
    assert place.address() == old


def test_an_address_that_moves_to_another_device_is_followed(place: Place, conversations: list[Conversation]) -> None:
    """As when the host's interface becomes a port of a bridge."""
    old = place.address()
    place.net.shell(
        f"ip link add br9 type bridge; ip link set br9 up; ip address del {written(old).removesuffix(' nodad')}; "
        f"ip link set eth0 master br9; ip address add {written(old).replace('eth0', 'br9')}"
    )
    eventually(lambda: place.vxlan()["link"] == "br9")
    assert all(conversation.goes_on() for conversation in conversations)
    eventually(place.as_wanted)
    place.net.shell(f"ip link del br9; ip address add {written(old)}")
    eventually(lambda: place.vxlan()["link"] == "eth0")
    assert all(conversation.goes_on() for conversation in conversations)
    eventually(place.as_wanted)


def test_an_address_of_the_flag_that_vanishes_is_an_error(place: Place) -> None:
    """It is the user's: not replaced by another, but named in the node's condition until it is back."""
    named = place.address()
    other = neighbour(named, "79")
    place.lab.kill("node-2")
    place.lab._start(f"lab.agent_args[:] = ['--address={named}']; processes.start_agent(lab, 'node-2')")
    try:
        eventually(lambda: b"NotReady" not in place.lab.run("get", "node", "node-2").stdout and place.as_wanted())
        replace(place, named, other)
        found = eventually(lambda: (item := unavailable(place.lab, "node-2"))["status"] == "True" and item, within=60)
        assert (found["reason"], found["message"]) == (
            "NetworkSetupFailed", f"no device of this host has the address {named}, which --address names"
        )  # fmt: skip
        assert place.address() == named
        # Rules do not wait for the address.
        before = place.net.snapshot()["nft"]
        place.net.shell("nft flush ruleset")
        eventually(lambda: place.net.snapshot()["nft"] == before)
        # The agent's connection to the control plane had the address, too.
        said = f"error: node node-2: no device of this host has the address {named}"
        verified = eventually(
            lambda: said in (found := place.lab.run("net", "verify", "--node", "node-2")).stderr.decode() and found, within=60
        )
        assert verified.returncode == 1
        replace(place, other, named)
        eventually(lambda: unavailable(place.lab, "node-2")["status"] == "False", within=60)
        eventually(place.as_wanted)
    finally:
        place.lab.kill("node-2")
        place.lab._start(f"lab.agent_args[:] = [{FOUND!r}]; processes.start_agent(lab, 'node-2')")
