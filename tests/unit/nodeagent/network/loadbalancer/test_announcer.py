"""Which addresses a node answers for, and when it announces them or leaves them to another node."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nodeagent.control.changes import Change
from nodeagent.network.interface import NetworkError
from nodeagent.network.loadbalancer import arp
from nodeagent.network.loadbalancer.announcer import ANNOUNCEMENTS, INTERVAL, RESYNC, Announcer, answered_by
from pinnace import kinds
from pinnace.clock import VirtualClock, settle
from tests.support import objects

A, B = "192.0.2.64", "192.0.2.65"
MAC, OTHER = "0a:00:00:00:00:01", "0a:00:00:00:00:02"


def service(*addresses: str, node: str = "n1", name: str = "web", **spec: Any) -> Any:
    found = [{"ip": ip, "ipMode": "VIP"} for ip in addresses]
    return objects.make(
        kinds.SERVICE, name, meta={"annotations": {"pinnace.dev/announced-by": node}},
        spec={"type": "LoadBalancer", **spec}, status={"loadBalancer": {"ingress": found}},
    )  # fmt: skip


class Socket:
    """In place of ARP: one end of a pair of sockets, and what was announced."""

    def __init__(self, device: str, mac: str) -> None:
        self.device, self.mac = device, mac
        self.announced: list[str] = []
        self._pair = socket.socketpair()

    def fileno(self) -> int:
        return self._pair[0].fileno()

    def announce(self, address: str) -> None:
        self.announced.append(address)

    def heard(self) -> set[str]:
        return set()

    def close(self) -> None:
        for end in self._pair:
            end.close()


class Kernel:
    def __init__(self) -> None:
        self.addresses: set[str] = set()
        self.failing = False
        self.device = ("eth0", MAC)

    async def answered(self) -> frozenset[str]:
        return frozenset(self.addresses)

    async def answer_for(self, addresses: Collection[str]) -> tuple[str, str]:
        if self.failing:
            raise NetworkError("no")
        self.addresses = set(addresses)
        return self.device


class World:
    def __init__(self) -> None:
        self.clock, self.kernel, self.sockets = VirtualClock(), Kernel(), list[Socket]()
        self.announcer = Announcer(self.kernel, self.clock, "n1", self._open)
        self.announcer.connected = lambda: True

    def _open(self, device: str, mac: str) -> Any:
        self.sockets.append(Socket(device, mac))
        return self.sockets[-1]

    @property
    def announced(self) -> list[str]:
        return [address for one in self.sockets for address in one.announced]

    async def change(self, new: Any, name: str = "web") -> None:
        self.announcer.changed([Change(f"Service/default/{name}", None, new)])
        await settle(20)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.announcer.run())
        await settle(20)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (service(A, B), {A, B}),
        (service(A, node="n2"), set()),
        (service(A, type="ClusterIP"), set()),
        (service(A, loadBalancerClass="example.com/mine"), set()),
        (service(), set()),
        (service(A, "2001:db8::1"), {A, "2001:db8::1"}),
    ],
)
def test_a_node_answers_for_what_it_is_given(item: Any, expected: set[str]) -> None:
    """Of Services of the cluster's own load balancer, in both families."""
    assert answered_by(item, "n1") == expected


async def test_a_new_address_is_announced_three_times() -> None:
    """No change of the Service announces it again; when it goes to another node, the kernel does not answer any more."""
    world = World()
    async with world.running():
        await world.change(service(A))
        assert (world.kernel.addresses, world.announced) == ({A}, [A])
        for _ in range(5):
            await world.clock.advance(1.0)
            await settle(20)
        assert world.announced == [A] * ANNOUNCEMENTS
        await world.change(service(A, externalTrafficPolicy="Local"))
        await world.change(service(B, name="two"), "two")
        assert world.kernel.addresses == {A, B}
        await world.change(service(A, node="n2"))
        assert world.kernel.addresses == {B}
        await world.change(None, "two")
        assert world.kernel.addresses == set()
        await world.clock.advance(10.0)
        assert world.announced.count(A) == ANNOUNCEMENTS


@pytest.mark.parametrize("connected", [True, False])
async def test_an_agent_that_restarts_announces_nothing(connected: bool) -> None:
    """The node kept its addresses, and answered for them all the time."""
    world = World()
    world.announcer.connected, world.kernel.addresses = lambda: connected, {A}
    world.announcer.restore([service(A)])
    async with world.running():
        assert (world.kernel.addresses, world.announced) == ({A}, [])
        await world.change(service(A))
        assert world.announced == []


@pytest.mark.parametrize("again", [True, False])
async def test_a_node_that_was_rebooted_waits_for_the_control_plane(again: bool) -> None:
    """Another node may have its addresses by now. With a session it has them again, or the control plane takes them away."""
    world = World()
    world.announcer.connected, world.kernel.addresses = lambda: False, {B}
    world.announcer.restore([service(A, name="a"), service(B, name="b")])
    async with world.running():
        assert (world.kernel.addresses, world.announced) == ({B}, [])
        await world.clock.advance(60.0)
        await settle(20)
        assert (world.kernel.addresses, world.announced) == ({B}, [])
        if not again:
            await world.change(service(A, name="a", node="n2"), "a")
        world.announcer.connected = lambda: True
        await world.clock.advance(INTERVAL)
        await settle(20)
        assert (world.kernel.addresses, world.announced) == (({A, B}, [A]) if again else ({B}, []))


async def test_a_node_without_a_session_yields_to_another() -> None:
    """Until it is told of the Service again, or has a session and is told nothing else."""
    world = World()
    async with world.running():
        for again in (True, False):
            await world.change(service(A))
            await world.clock.advance(10.0)
            world.announcer.connected = lambda: False
            world.announcer.heard({A})
            await settle(20)
            assert world.kernel.addresses == set()
            before = len(world.announced)
            await world.clock.advance(20.0)
            assert world.kernel.addresses == set()
            world.announcer.connected = lambda: True
            if again:
                await world.change(service(A))
            else:
                await world.clock.advance(6.0)
                await settle(20)
            assert world.kernel.addresses == {A}
            assert world.announced[before:]


async def test_a_node_with_a_session_defends_its_address() -> None:
    """Once for each look at the kernel, not at once: two nodes that both do so must not flood the link."""
    world = World()
    async with world.running():
        await world.change(service(A))
        for _ in range(4):
            await world.clock.advance(1.0)
            await settle(20)
        for _ in range(10):
            world.announcer.heard({A})
            await settle(20)
        assert world.announced == [A] * ANNOUNCEMENTS
        await world.clock.advance(5.0)
        await settle(20)
        assert world.announced == [A] * (ANNOUNCEMENTS + 1)
        assert world.kernel.addresses == {A}


async def test_a_failure_is_tried_again() -> None:
    world = World()
    async with world.running():
        world.kernel.failing = True
        await world.change(service(A))
        assert world.announced == []
        world.kernel.failing = False
        await world.clock.advance(1.0)
        await settle(20)
        assert (world.kernel.addresses, world.announced) == ({A}, [A])


async def test_addresses_beyond_the_limit_are_named(caplog: pytest.LogCaptureFixture) -> None:
    """Of this node's Services only."""
    addresses = [f"192.0.2.{number}" for number in range(1, 11)]
    world = World()
    async with world.running():
        await world.change(service(*addresses, node="n2"))
        assert not caplog.records
        await world.change(service(*addresses))
        assert len(world.kernel.addresses) == 8
    assert [record.getMessage() for record in caplog.records] == ["addresses_left_out service=default/web count=10 used=8"]


def test_announcements_on_the_wire() -> None:
    """A request and a reply, both with the address as sender and target; other packets announce nothing."""
    frames = arp.announcements(A, MAC)
    assert [arp.announced(frame) for frame in frames] == [(A, MAC)] * 2
    assert all(frame[:6] == b"\xff" * 6 and len(frame) == 42 for frame in frames)
    asking = frames[0][:-4] + bytes([192, 0, 2, 1])
    assert arp.announced(asking) is None
    assert arp.announced(frames[0][:30]) is None
    assert arp.announced(b"") is None


async def test_an_address_is_announced_again_from_another_device() -> None:
    """Also after a time without one; not when the same device is back."""
    world = World()
    await world.change(service(A))
    async with world.running():
        await world.clock.advance(INTERVAL * ANNOUNCEMENTS)
        world.kernel.failing = True
        await world.clock.advance(RESYNC)
        world.kernel.failing = False
        await world.clock.advance(RESYNC)
        assert world.announced == [A] * ANNOUNCEMENTS
        world.kernel.device = ("br9", OTHER)
        await world.clock.advance(RESYNC + INTERVAL * ANNOUNCEMENTS)
        assert [(item.device, item.announced) for item in world.sockets[-1:]] == [("br9", [A] * ANNOUNCEMENTS)]
