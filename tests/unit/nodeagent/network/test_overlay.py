"""The node's network with the real kernel, in a network namespace of its own: what is programmed, and repaired when that fails."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from nodeagent.linux import namespaces, syscalls
from nodeagent.network import conntrack, links, plan, rtnetlink, tables
from nodeagent.network.elements import Listing
from nodeagent.network.interface import Comparison, HostPort, NetworkError, Node, Peer
from nodeagent.network.nftables import Nftables
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.overlay import OverlayNetwork
from nodeagent.network.rtnetlink import Address
from nodeagent.network.ruleset import Ruleset
from nodeagent.network.vxlan import DEVICE
from pinnace.clock import settle
from tests.support.networks import alone, pinned

pytestmark = pytest.mark.root
NODE = Node(("10.244.1.0/24",), ("10.244.0.0/14",), "10.9.0.1", "02:00:00:00:00:01", 1, 4789)
PEERS = [Peer("n2", ("10.244.2.0/24",), "10.9.0.2", "02:00:00:00:01:02")]


@pytest.fixture
def host() -> Iterator[int]:
    """The network namespace of a host with an underlay, as a file descriptor."""

    def made() -> int:
        with NetlinkSocket() as kernel:
            kernel.run(links.add("under0", "bridge"), links.change(1, up=True))
            [under] = kernel.run(links.get(name="under0"))
            index = links.read(under).index
            kernel.run(links.change(index, up=True), rtnetlink.add_address(Address(index, NODE.address, 24)))
        return namespaces.current()

    found = alone(made)
    yield found
    os.close(found)


N = TypeVar("N", bound=OverlayNetwork)


@asynccontextmanager
async def set_up(host: int, network: N) -> AsyncIterator[N]:
    """An agent's network, set up on the host."""
    # Before the first visit, which opens the sockets.
    await asyncio.get_running_loop().run_in_executor(network._thread, syscalls.setns, host, syscalls.CLONE_NEWNET)
    try:
        await network.setup(NODE)
        yield network
    finally:
        await network.close()


def agent(host: int, folder: Path) -> AbstractAsyncContextManager[OverlayNetwork]:
    return set_up(host, OverlayNetwork(folder / "forwarding", folder))


@contextmanager
def kernel() -> Iterator[tuple[NetlinkSocket, int]]:
    """On the thread of a network: a socket, and the index of the VXLAN device."""
    with NetlinkSocket() as found:
        [message] = found.run(links.get(name=DEVICE))
        yield found, links.read(message).index


def delete_table() -> None:
    Nftables().run_text("delete table inet pinnace")


def delete_device() -> None:
    with kernel() as (route, device):
        route.run(links.delete(device))


def entries() -> plan.Table:
    with kernel() as (route, device):
        return tables.read(route, device)


async def test_peers_that_could_not_be_programmed_are_so_by_a_repair(host: int, tmp_path: Path) -> None:
    """Table and device are missing: a repair makes both, with the entries of the new peers."""
    async with agent(host, tmp_path) as network:
        await network.sync([])
        await network.visit(delete_table)
        await network.visit(delete_device)
        with pytest.raises(NetworkError, match="nftables"):
            await network.sync(PEERS)
        assert {("link", DEVICE), ("nft", "table inet pinnace")} <= {(i.kind, i.item) for i in (await network.repair()).found}
        assert await network.visit(entries) == plan.wanted(NODE, PEERS)
        assert (await network.verify(), await network.sync(PEERS)) == (Comparison(), 0)


async def test_two_peers_with_one_range_leave_nothing_to_repair(
    host: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first by name is programmed; the log names the other one, once."""
    async with agent(host, tmp_path) as network:
        peers = [Peer("n3", PEERS[0].pod_cidrs, "10.9.0.3", "02:00:00:00:01:03"), *PEERS]
        assert [await network.sync(peers) > 0, await network.sync(peers), await network.sync([*reversed(peers)])] == [
            True,
            0,
            0,
        ]
        assert (await network.verify(), await network.visit(entries)) == (Comparison(), plan.wanted(NODE, PEERS))
    [record] = [record.getMessage() for record in caplog.records]
    assert record == "peer_left_out node=n3 error=its pod CIDR overlaps with that of node n2"
    caplog.clear()


async def test_an_agent_that_does_not_know_its_peers_yet_keeps_them(host: int, tmp_path: Path) -> None:
    """Those of the agent before are no deviation, and a repair of something else leaves them."""
    async with agent(host, tmp_path) as network:
        await network.sync(PEERS)
        before = await network.visit(entries)
    async with agent(host, tmp_path) as network:
        assert await network.verify() == Comparison()

        def down() -> None:
            with kernel() as (route, device):
                route.run(links.change(device, up=True, mtu=1300))

        await network.visit(down)
        assert [item.item for item in (await network.repair()).found] == [f"{DEVICE} mtu"]
        assert await network.visit(entries) == before == plan.wanted(NODE, PEERS)


def send() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for port in (5300, 5301, 5302):
            client.sendto(b"x", (NODE.address, port))


def tracked() -> set[int]:
    with NetlinkSocket(conntrack.NETFILTER) as kernel:
        return {conntrack.flow_of(message).port for message in kernel.dump(conntrack.list_flows())}


async def test_connections_to_a_host_port_of_udp_end_when_it_changes(host: int, tmp_path: Path) -> None:
    """Of all that have changed, and only of them."""

    async with agent(host, tmp_path) as network:
        await network.visit(send)
        assert await network.visit(tracked) >= {5300, 5301, 5302}
        ports = [HostPort("udp", "", port, "10.244.1.5", 53) for port in (5300, 5301)]
        network.resume("p", tmp_path, ["10.244.1.5"], [*ports, HostPort("tcp", "", 5302, "10.244.1.5", 53)])
        await network.sync([])
        assert await network.visit(tracked) & {5300, 5301, 5302} == {5302}
        await network.visit(send)
        await network.sync([])
        assert await network.visit(tracked) >= {5300, 5301}
        await network.detach("p")
        assert await network.visit(tracked) & {5300, 5301, 5302} == {5302}


async def test_connections_end_after_a_repair_by_another_concern_has_changed_their_host_port(host: int, tmp_path: Path) -> None:
    """The transaction of the host ports failed, as their element had been deleted; one of the peers applied the change."""
    async with agent(host, tmp_path) as network:
        network.resume("p", tmp_path, ["10.244.1.5"], [HostPort("udp", "", 5300, "10.244.1.5", 53)])
        await network.sync([])
        await network.visit(send)
        await network.visit(lambda: Nftables().run_text("delete element inet pinnace hostports_4 { udp . 5300 }"))
        network.resume("p", tmp_path, ["10.244.1.6"], [HostPort("udp", "", 5300, "10.244.1.6", 53)])
        with pytest.raises(NetworkError, match="nftables"):
            await network.sync([])
        assert await network.visit(tracked) >= {5300, 5301}
        await network.sync(PEERS)
        assert not network.ruleset.stale
        assert await network.visit(tracked) & {5300, 5301} == {5301}


class Unreadable(Ruleset):
    """The table cannot be read as long as `failing`."""

    failing = False

    def listing(self, concerns: Collection[str] | None = None) -> Listing:
        if self.failing:
            raise NetworkError("nftables: busy")
        return super().listing(concerns)


async def test_connections_end_if_the_first_transaction_of_host_ports_has_failed(host: int, tmp_path: Path) -> None:
    """Those of ports that an earlier agent had, and that still lead to the same pod, stay."""
    same = HostPort("udp", "", 5301, "10.244.1.5", 53)
    async with agent(host, tmp_path) as network:
        network.resume("p", tmp_path, ["10.244.1.5"], [HostPort("udp", "", 5300, "10.244.1.5", 53), same])
        await network.sync([])
        await network.visit(send)
    starting = OverlayNetwork(tmp_path / "forwarding", tmp_path)
    starting.ruleset = ruleset = Unreadable(starting._nft)
    async with set_up(host, starting) as network:
        network.resume("p", tmp_path, ["10.244.1.6"], [HostPort("udp", "", 5300, "10.244.1.6", 53), same])
        ruleset.failing = True
        with pytest.raises(NetworkError, match="busy"):
            await network.sync([])
        ruleset.failing = False
        await network.visit(ruleset.repair)
        assert await network.visit(tracked) >= {5300, 5301}
        await network.sync([])
        assert await network.visit(tracked) & {5300, 5301} == {5301}


FIRST, SECOND = HostPort("udp", "", 5300, "10.244.1.5", 53), HostPort("udp", "", 5301, "10.244.1.6", 53)


class Failing(OverlayNetwork):
    """The kernel does not list tracked connections."""

    failing = True

    def _delete_connections(self, kernel: NetlinkSocket, ports: Collection[tuple[int, int]]) -> int:
        if self.failing:
            raise OSError(errno.ENOBUFS, "no buffers")
        return super()._delete_connections(kernel, ports)


async def test_connections_that_cannot_be_listed_fail_only_the_pod_whose_port_it_is(host: int, tmp_path: Path) -> None:
    """Other pods are attached and removed, and peers programmed. Comparisons try again, and report the error."""
    async with set_up(host, Failing(tmp_path / "forwarding", tmp_path)) as network:
        await network.visit(send)
        with pinned(tmp_path / "p") as first, pinned(tmp_path / "q") as second:
            with pytest.raises(NetworkError, match="tracked connections to host ports: no buffers"):
                await network.attach("p", first, ["10.244.1.5"], [FIRST])
            await network.attach("q", second, ["10.244.1.6"])
            await network.attach("q", second, ["10.244.1.6"], [HostPort("tcp", "", 5302, "10.244.1.6", 53)])
            await network.detach("q")
            assert await network.sync(PEERS) > 0
            assert [str(error) for error in (await network.repair()).errors] == [
                "tracked connections to host ports: no buffers"
            ]
            assert 5300 in await network.visit(tracked)
            network.failing = False
            assert (await network.repair()).errors == []
            assert await network.visit(tracked) & {5300, 5301} == {5301}
            await network.attach("p", first, ["10.244.1.5"], [FIRST])


class Waiting(OverlayNetwork):
    """Lists of tracked connections last until `may_end`."""

    def __init__(self, forwarding: Path, keys: Path) -> None:
        super().__init__(forwarding, keys)
        self.begun, self.may_end = threading.Event(), threading.Event()

    def _delete_connections(self, kernel: NetlinkSocket, ports: Collection[tuple[int, int]]) -> int:
        self.begun.set()
        self.may_end.wait(60)
        return super()._delete_connections(kernel, ports)


async def test_a_pod_waits_until_connections_to_its_host_port_have_ended(host: int, tmp_path: Path) -> None:
    """Also if they are ended for another caller; a pod without host ports does not wait."""
    async with set_up(host, Waiting(tmp_path / "forwarding", tmp_path)) as network:
        await network.visit(send)
        with pinned(tmp_path / "q") as second, pinned(tmp_path / "r") as third:
            network.resume("p", tmp_path, ["10.244.1.5"], [FIRST])
            network.resume("q", second, ["10.244.1.6"], [SECOND])
            both = [asyncio.ensure_future(network.sync([]))]
            try:
                assert await asyncio.to_thread(network.begun.wait, 60)
                both.append(asyncio.ensure_future(network.attach("q", second, ["10.244.1.6"], [SECOND])))
                await settle()
                # Its visit to the kernel is after that of the other one.
                await network.attach("r", third, ["10.244.1.7"])
                await settle()
                assert [task.done() for task in both] == [False, False]
            finally:
                network.may_end.set()
            await asyncio.gather(*both)
            assert await network.visit(tracked) & {5300, 5301} == set()
