"""The loop that keeps the node's network as the control plane said: when it programs, and when it tries again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from nodeagent.network.interface import Peer
from nodeagent.network.reconciler import RESYNC, RETRY, NetworkReconciler
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import VirtualClock
from tests.support.hosting import FakeNetwork

WELCOME = nodes_pb2.Welcome(podCIDR="10.244.1.0/24", clusterCIDRs=["10.244.0.0/16"], vni=7, vxlanPort=4789)
PEER = Peer("n2", "10.244.2.0/24", "192.0.2.2", "0a:00:00:00:00:02")


class Node:
    def __init__(self, folder: Path) -> None:
        self.clock, self.network = VirtualClock(), FakeNetwork()
        self.peers: list[Peer] = []
        self.ranged = 0
        self.reconciler = self.started(folder)

    def started(self, folder: Path) -> NetworkReconciler:
        """As an agent has it that has just started."""
        return NetworkReconciler(
            self.network, folder / "welcome.pb", self.clock, node="n1", peers=lambda: self.peers,
            addresses=lambda: [("u1", "10.244.1.9"), ("u2", "10.9.9.9")], ranged=self._ranged,
        )  # fmt: skip

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


async def test_peers_are_programmed_on_change_and_on_a_timer(tmp_path: Path) -> None:
    """Entries may vanish from the kernel without a change."""
    node = Node(tmp_path)
    async with node.running():
        assert node.network.synced == [()]
        node.peers.append(PEER)
        node.reconciler.peers_changed()
        await node.clock.advance(0)
        assert node.network.synced == [(), (PEER,)]
        await node.clock.advance(RESYNC - 1)
        assert len(node.network.synced) == 2
        await node.clock.advance(2)
        assert len(node.network.synced) == 3


async def test_a_failure_is_tried_again_soon(tmp_path: Path) -> None:
    """Each attempt after a pause."""
    node = Node(tmp_path)
    node.network.fault = "netlink does not answer"
    async with node.running():
        assert node.network.faults == 1
        await node.clock.advance(RETRY * 3.5)
        assert node.network.faults == 4
        node.network.fault = ""
        await node.clock.advance(RETRY)
        assert node.network.synced == [()]


async def test_a_network_that_could_not_be_set_up_is_tried_again(tmp_path: Path) -> None:
    """Pods wait until there is a pod CIDR; those with an address in it keep theirs."""
    node = Node(tmp_path)
    node.network.fault = "no such device"
    await node.reconciler.welcomed(WELCOME)
    assert (node.reconciler.ipam, node.ranged) == (None, 0)
    async with node.running():
        await node.clock.advance(RETRY * 2)
        node.network.fault = ""
        await node.clock.advance(RETRY * 2)
    assert [item.pod_cidr for item in node.network.nodes] == ["10.244.1.0/24"]
    assert node.ranged == 1
    assert node.reconciler.ipam is not None
    assert "10.244.1.9" not in {node.reconciler.ipam.allocate(f"p{n}") for n in range(20)}


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
