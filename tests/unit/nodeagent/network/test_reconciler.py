"""The loop that keeps the node's network as the control plane said: when it programs, and when it tries again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nodeagent.network.interface import Deviation, NetworkError, Peer
from nodeagent.network.reconciler import MAX_LOGGED, PAUSE, RESYNC, RETRY, NetworkReconciler
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import VirtualClock
from tests.support.hosting import FakeNetwork

WELCOME = nodes_pb2.Welcome(podCIDR="10.244.1.0/24", clusterCIDRs=["10.244.0.0/16"], vni=7, vxlanPort=4789)
PEER = Peer("n2", ("10.244.2.0/24",), "192.0.2.2", "0a:00:00:00:00:02")


class Node:
    def __init__(self, folder: Path) -> None:
        self.clock, self.network = VirtualClock(), FakeNetwork()
        self.peers: list[Peer] = []
        self.ranged = 0
        # The host's address, or why it has none; and the earlier addresses of each move.
        self.host, self.absent = ("192.0.2.1",), ""
        self.moves: list[tuple[str, ...]] = []
        self.reconciler = self.started(folder)

    def started(self, folder: Path) -> NetworkReconciler:
        """As an agent has it that has just started."""
        made = NetworkReconciler(
            self.network, folder / "welcome.pb", self.clock, node="n1", peers=lambda: self.peers,
            addresses=lambda: [("u1", ["10.244.1.9"]), ("u2", ["10.9.9.9"])], ranged=self._ranged,
            find=self._find,
        )  # fmt: skip
        made.host_ips, made.moved = self.host, self.moves.append
        return made

    async def _find(self, current: tuple[str, ...]) -> tuple[str, ...]:
        if self.absent:
            raise NetworkError(self.absent)
        return self.host

    def _ranged(self) -> None:
        self.ranged += 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.reconciler.run())
        try:
            await self.clock.advance(0)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_peers_are_programmed_on_change_and_the_kernel_is_compared_on_a_timer(tmp_path: Path) -> None:
    """Entries may vanish from the kernel without a change; what is repaired is counted by kind."""
    node = Node(tmp_path)
    async with node.running():
        assert node.network.synced == [()]
        node.peers.append(PEER)
        node.reconciler.peers_changed()
        await node.clock.advance(0)
        assert node.network.synced == [(), (PEER,)]
        repairs = node.network.repairs
        node.network.deviations = [Deviation("route", "10.244.2.0/24", "via 10.244.2.0", ""), Deviation("fdb", "m", "d", "")]
        await node.clock.advance(RESYNC - 1)
        assert node.network.repairs == repairs
        await node.clock.advance(2)
        assert node.network.repairs > repairs
        assert node.reconciler.repairs == {"route": 1, "fdb": 1}
        assert node.network.synced == [(), (PEER,)]


async def test_a_change_in_the_kernel_is_compared_soon_and_many_together(tmp_path: Path) -> None:
    """The kernel's notifications of one change are several, and some are of changes of our own."""
    node = Node(tmp_path)
    async with node.running():
        await node.clock.advance(PAUSE + 0.1)
        repairs = node.network.repairs
        node.network.changed()
        await node.clock.advance(0)
        assert node.network.repairs == repairs + 1
        for _ in range(20):
            node.network.changed()
        await node.clock.advance(PAUSE / 2)
        assert node.network.repairs == repairs + 1
        await node.clock.advance(PAUSE)
        assert node.network.repairs == repairs + 2


async def test_the_kernel_is_compared_within_five_seconds_without_a_notification(tmp_path: Path) -> None:
    """As docs/network.md promises, also after one that was notified of; and the pause after it counts."""
    assert RESYNC + PAUSE <= 5
    node = Node(tmp_path)
    async with node.running():
        node.network.changed()
        for _ in range(10):
            repairs = node.network.repairs
            await node.clock.advance(5)
            assert node.network.repairs > repairs


async def test_a_repair_that_does_not_last_is_repeated_in_peace(tmp_path: Path) -> None:
    """Not as often as the kernel notifies of it."""
    node = Node(tmp_path)
    node.network.again = [Deviation("port", "pnc1 mtu", "1450", "1500")]
    async with node.running():
        await node.clock.advance(RESYNC)
        repairs = node.network.repairs
        await node.clock.advance(PAUSE * 10)
        assert repairs + 8 <= node.network.repairs <= repairs + 12


async def test_new_peers_do_not_wait_for_the_pause(tmp_path: Path) -> None:
    node = Node(tmp_path)
    async with node.running():
        node.network.changed()
        node.peers.append(PEER)
        node.reconciler.peers_changed()
        await node.clock.advance(0)
        assert node.network.synced == [(), (PEER,)]


async def test_a_failure_is_tried_again_soon(tmp_path: Path) -> None:
    """Each attempt after a pause; peers and repair fail each time."""
    node = Node(tmp_path)
    node.network.fault = "netlink does not answer"
    async with node.running():
        assert node.network.faults == 2
        await node.clock.advance(RETRY * 3.5)
        assert node.network.faults == 8
        node.network.fault = ""
        await node.clock.advance(RETRY)
        assert node.network.synced == [()]


async def test_peers_that_cannot_be_programmed_do_not_stop_repairs(tmp_path: Path) -> None:
    """A device that is missing is made by a repair alone; then the peers are programmed."""
    node = Node(tmp_path)
    node.peers.append(PEER)
    async with node.running():
        node.network.unsynced = "there is no device pinnace-vx"
        node.network.deviations = [Deviation("link", "pinnace-vx", "vxlan", "")]
        repairs = node.network.repairs
        node.reconciler.peers_changed()
        await node.clock.advance(0)
        assert node.network.repairs == repairs + 1
        assert node.reconciler.repairs == {"link": 1}
        node.network.synced.clear()
        await node.clock.advance(RETRY)
        assert node.network.synced == [(PEER,)]


async def test_repairs_are_counted_also_when_a_part_fails(tmp_path: Path) -> None:
    """The rest of the network is compared again soon."""
    node = Node(tmp_path)
    node.network.errors = [NetworkError("no device of this host has the address 192.0.2.1")]
    async with node.running():
        repairs = node.network.repairs
        node.network.deviations = [Deviation("nft", "table inet pinnace", "present", "")]
        await node.clock.advance(RETRY * 1.5)
        assert node.network.repairs > repairs
        assert node.reconciler.repairs == {"nft": 1}


async def test_repairs_that_fail_are_not_counted_and_those_of_a_command_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As `kctl net verify --fix` repairs; what the log leaves out is counted in it."""
    node = Node(tmp_path)
    async with node.running():
        many = [Deviation("route", f"10.0.{number}.0/24", "present", "") for number in range(MAX_LOGGED + 3)]
        node.network.deviations, node.network.left = list(many), many[:1]
        assert len((await node.reconciler.repair()).found) == len(many)
        assert node.reconciler.repairs == {"route": len(many) - 1}
        assert caplog.text.count("network_repaired kind=") == MAX_LOGGED
        assert "network_repaired_more number=2" in caplog.text


async def test_a_network_that_could_not_be_set_up_is_tried_again(tmp_path: Path) -> None:
    """Pods wait until there is a pod CIDR; those with an address in it keep theirs."""
    node = Node(tmp_path)
    node.network.fault = "no such device"
    assert node.reconciler.unavailable() == "the node's network is not set up yet"
    await node.reconciler.welcomed(WELCOME)
    assert (node.reconciler.ipam, node.ranged) == (None, 0)
    assert node.reconciler.unavailable() == "no such device"
    async with node.running():
        await node.clock.advance(RETRY * 2)
        node.network.fault = ""
        await node.clock.advance(RETRY * 2)
    assert [item.pod_cidr for item in node.network.nodes] == ["10.244.1.0/24"]
    assert (node.ranged, node.reconciler.unavailable()) == (1, "")
    assert node.reconciler.ipam is not None
    assert ("10.244.1.9",) not in {node.reconciler.ipam.allocate(f"p{n}") for n in range(20)}


async def test_peers_are_programmed_once_the_network_is_set_up(tmp_path: Path) -> None:
    """An attempt before has programmed nothing; the node's condition tells why it failed, and that it is over."""
    node = Node(tmp_path)
    node.peers.append(PEER)
    node.network.unset = "the host is in the way"
    await node.reconciler.welcomed(WELCOME)
    async with node.running():
        await node.clock.advance(RETRY)
        [condition] = node.reconciler.conditions()
        assert (condition.type, condition.status, condition.message) == ("NetworkUnavailable", "True", "the host is in the way")
        before = len(node.network.synced)
        node.network.unset = ""
        await node.clock.advance(RETRY * 2)
        assert node.network.synced[before:] == [(PEER,)]
        [condition] = node.reconciler.conditions()
        assert (condition.status, condition.reason) == ("False", "NetworkIsSetUp")


async def test_a_clash_that_comes_later_is_named_until_it_is_gone(tmp_path: Path) -> None:
    """In the node's condition, once: the network is not set up again."""
    node = Node(tmp_path)
    await node.reconciler.welcomed(WELCOME)
    changes = list[str]()
    node.reconciler.condition_changed = lambda: changes.append(node.reconciler.problem)
    async with node.running():
        node.network.clash = "a route is in the way"
        await node.clock.advance(RESYNC * 3)
        [condition] = node.reconciler.conditions()
        assert (condition.status, condition.reason, condition.message) == ("True", "NetworkClash", "a route is in the way")
        node.absent = "no address"
        await node.clock.advance(RESYNC)
        assert [condition.reason for condition in node.reconciler.conditions()] == ["NetworkSetupFailed"]
        node.absent = ""
        await node.clock.advance(RESYNC)
        node.network.clash = ""
        await node.clock.advance(RESYNC)
    assert changes == ["a route is in the way", "no address", "a route is in the way", ""]
    assert len(node.network.nodes) == 1


async def test_the_network_is_set_up_where_the_nodes_address_is(tmp_path: Path) -> None:
    """With its peers, and then it is announced; the kernel's notification is enough."""
    node = Node(tmp_path)
    node.peers.append(PEER)
    await node.reconciler.welcomed(WELCOME)
    async with node.running():
        await node.clock.advance(PAUSE * 2)
        assert node.moves == []
        node.host = ("192.0.2.7",)
        before = len(node.network.synced)
        node.network.changed()
        await node.clock.advance(PAUSE)
        assert [item.address for item in node.network.nodes] == ["192.0.2.1", "192.0.2.7"]
        assert node.network.synced[before:] == [(PEER,)]
        assert (node.moves, node.reconciler.host_ips) == ([("192.0.2.1",)], ("192.0.2.7",))
        # The next welcome changes nothing.
        await node.reconciler.welcomed(WELCOME)
        assert (node.network.nodes[-1].address, len(node.moves)) == ("192.0.2.7", 1)


async def test_an_address_that_the_network_is_not_set_up_at_is_not_announced(tmp_path: Path) -> None:
    """The node's condition tells why, until the host has another."""
    node = Node(tmp_path)
    await node.reconciler.welcomed(WELCOME)
    async with node.running():
        node.host, node.network.unset = ("10.244.9.9",), "it clashes"
        await node.clock.advance(RESYNC + RETRY)
        [condition] = node.reconciler.conditions()
        assert (condition.status, condition.message) == ("True", "it clashes")
        assert (node.moves, node.reconciler.host_ips) == ([], ("192.0.2.1",))
        node.host, node.network.unset = ("192.0.2.1",), ""
        await node.clock.advance(RETRY * 2)
        assert [condition.status for condition in node.reconciler.conditions()] == ["False"]
        assert (node.moves, node.network.nodes[-1].address) == ([], "192.0.2.1")


async def test_a_node_without_an_address_keeps_its_network(tmp_path: Path) -> None:
    """Nothing is set up again when the address returns; peers are programmed meanwhile."""
    node = Node(tmp_path)
    await node.reconciler.welcomed(WELCOME)
    async with node.running():
        node.absent = "no address"
        await node.clock.advance(RESYNC + RETRY)
        [condition] = node.reconciler.conditions()
        assert (condition.status, condition.reason, condition.message) == ("True", "NetworkSetupFailed", "no address")
        node.peers.append(PEER)
        node.reconciler.peers_changed()
        await node.clock.advance(0)
        assert node.network.synced[-1] == (PEER,)
        node.absent = ""
        await node.clock.advance(RETRY * 2)
        assert [condition.status for condition in node.reconciler.conditions()] == ["False"]
        assert (len(node.network.nodes), node.moves) == (1, [])


async def test_the_reason_that_there_is_no_address_outlasts_a_welcome(tmp_path: Path) -> None:
    """The network cannot be set up at an address that the host does not have, and the failure says less than the reason."""
    node = Node(tmp_path)
    async with node.running():
        node.absent = "no address, which --address names"
        await node.clock.advance(RESYNC + RETRY)
        node.network.unset = "no address"
        await node.reconciler.welcomed(WELCOME)
        for _ in range(3):
            assert node.reconciler.problem == node.absent
            await node.clock.advance(RETRY)
        node.absent = node.network.unset = ""
        await node.clock.advance(RETRY * 2)
    assert (node.reconciler.problem, node.network.nodes[-1].address) == ("", "192.0.2.1")


async def test_an_address_that_changes_before_the_first_welcome_is_that_of_the_network(tmp_path: Path) -> None:
    node = Node(tmp_path)
    async with node.running():
        node.host = ("192.0.2.7",)
        await node.clock.advance(RESYNC + RETRY)
        await node.reconciler.welcomed(WELCOME)
    assert (node.moves, [item.address for item in node.network.nodes]) == ([("192.0.2.1",)], ["192.0.2.7"])


async def test_the_last_welcome_is_restored_by_the_next_agent(tmp_path: Path) -> None:
    """Before the control plane can be reached; a torn file counts as absent."""
    node = Node(tmp_path)
    await node.reconciler.welcomed(WELCOME)
    again = node.started(tmp_path)
    await again.restore()
    assert again.ipam is not None
    (tmp_path / "welcome.pb").write_bytes(b"\xff\xff torn")
    torn = node.started(tmp_path)
    await torn.restore()
    assert torn.ipam is None


async def test_the_next_agent_continues_after_the_last_pod_address(tmp_path: Path) -> None:
    """Also if its pod is gone; a torn file counts as absent."""
    node = Node(tmp_path)
    await node.reconciler.welcomed(WELCOME)
    assert node.reconciler.ipam is not None
    assert node.reconciler.ipam.allocate("a") == ("10.244.1.2",)
    for expected, damage in (("10.244.1.3", None), ("10.244.1.2", b"torn")):
        if damage is not None:
            (tmp_path / "last-address").write_bytes(damage)
        again = node.started(tmp_path)
        await again.restore()
        assert again.ipam is not None
        assert again.ipam.allocate("b") == (expected,)


async def test_pods_find_the_api_where_the_control_plane_says(tmp_path: Path) -> None:
    """Also with an agent that starts without it; nowhere when it says nothing."""
    node = Node(tmp_path)
    await node.reconciler.welcomed(WELCOME)
    assert node.reconciler.services() == {}
    said = nodes_pb2.Welcome(apiHost="192.0.2.7", apiPort=6444)
    said.MergeFrom(WELCOME)
    await node.reconciler.welcomed(said)
    again = node.started(tmp_path)
    await again.restore()
    expected = {"KUBERNETES_SERVICE_HOST": "192.0.2.7", "KUBERNETES_SERVICE_PORT": "6444"}
    assert node.reconciler.services() == again.services() == expected
