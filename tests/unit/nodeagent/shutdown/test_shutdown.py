"""Graceful node shutdown: the order, the grace, and what is said of it; with logind on a private D-Bus too."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nodeagent.shutdown import logind, order
from nodeagent.shutdown.logind import LogindError
from nodeagent.shutdown.manager import MESSAGE, REASON, Node, ShutdownManager
from nodeagent.shutdown.order import Period
from pinnace.clock import SystemClock, VirtualClock, settle
from pinnace.core.v1 import node_pb2
from pinnace.podresources import CRITICAL_PRIORITY
from tests.support.objects import pod

PERIODS = order.periods(30.0, 10.0)


def test_the_last_part_of_the_grace_period_is_for_critical_pods() -> None:
    """As kubelet's flags; without any grace nothing is done."""
    assert order.periods(30.0, 10.0) == (Period(0, 20.0), Period(CRITICAL_PRIORITY, 10.0))
    assert order.periods(0.0, 0.0) == ()
    with pytest.raises(ValueError, match="must not be longer"):
        order.periods(5.0, 10.0)


def test_pods_are_grouped_by_priority_the_lowest_first() -> None:
    """Boundaries belong to the higher period; what is below all goes with the lowest; empty groups are not waited for."""
    found = (Period(100, 1.0), Period(0, 2.0), Period(1000, 3.0))
    pods = [(5000, "e"), (1000, "d"), (999, "c"), (0, "b"), (-5, "a")]
    assert order.grouped(found, pods) == [
        (Period(0, 2.0), ["b", "a"]),
        (Period(100, 1.0), ["c"]),
        (Period(1000, 3.0), ["e", "d"]),
    ]
    assert order.grouped(found, []) == []


@dataclass
class Pod:
    """One that takes `ends` seconds to stop, or never does."""

    pod: Any
    clock: Any
    ends: float | None = 0.0
    told: list[tuple[float, str, str, float]] = field(default_factory=list)

    def over(self) -> bool:
        return bool(self.told) and self.ends is not None and self.clock.monotonic() >= self.told[0][0] + self.ends

    def evict(self, *, reason: str, message: str, grace: float, disruption: bool = True) -> None:
        assert disruption
        self.told.append((self.clock.monotonic(), reason, message, grace))


class Lock:
    """Locks that were taken and released, in the place of logind's."""

    def __init__(self, longest: float = 60.0) -> None:
        self.longest = longest
        self.held: set[int] = set()
        self.count = 0
        self.said: asyncio.Queue[bool | None] = asyncio.Queue()

    async def longest_delay(self) -> float:
        return self.longest

    async def inhibit(self) -> int:
        self.count += 1
        self.held.add(self.count)
        return self.count

    async def announced(self) -> bool:
        value = await self.said.get()
        if value is None:
            raise LogindError("gone")
        return value

    def close(self) -> None: ...


class Machine:
    def __init__(self, *pods: tuple[int, float | None], longest: float = 60.0, periods: tuple[Period, ...] = PERIODS) -> None:
        self.clock = VirtualClock()
        self.start = self.clock.monotonic()
        self.lock = Lock(longest)
        self.events: list[str] = []
        self.pods = [Pod(pod(f"p{n}", priority=priority, terminationGracePeriodSeconds=25), self.clock, ends)
                     for n, (priority, ends) in enumerate(pods)]  # fmt: skip
        self.connected = 0
        node = Node(lambda: self.pods, lambda reason, message, warning: self.events.append(message), lambda: None, self.clock)
        self.manager = ShutdownManager(periods, node, connect=self._connect, release=self.lock.held.discard)

    async def _connect(self) -> Lock:
        self.connected += 1
        return self.lock

    async def after(self, seconds: float) -> None:
        for _ in range(int(seconds * 10)):
            await self.clock.advance(0.1)
            await settle()

    def told(self) -> list[tuple[float, float]]:
        """When each pod was told, and the grace it got."""
        return [(round(item.told[0][0] - self.start, 1), item.told[0][3]) for item in self.pods if item.told]


async def served(machine: Machine) -> asyncio.Task[None]:
    task = asyncio.ensure_future(machine.manager.run())
    await settle()
    assert machine.lock.held
    return task


def ready(manager: ShutdownManager) -> list[tuple[str, str, str]]:
    status = node_pb2.NodeStatus()
    manager.condition(status)
    return [(item.type, item.status, item.reason) for item in status.conditions]


async def test_pods_stop_in_order_and_then_the_lock_is_released() -> None:
    """Critical ones once the others have ended, each with the shorter of its own grace and its period's."""
    machine = Machine((0, 3.0), (5, 1.0), (CRITICAL_PRIORITY, 2.0))
    task = await served(machine)
    machine.lock.said.put_nowait(True)
    await machine.after(2)
    assert machine.told() == [(0.0, 20.0), (0.0, 20.0)]
    assert machine.pods[0].told[0][1:3] == (REASON, MESSAGE)
    assert ready(machine.manager) == [("Ready", "False", "KubeletNotReady")]
    assert machine.lock.held
    await machine.after(5)
    assert machine.told()[2][1] == 10.0
    assert 3.0 <= machine.told()[2][0] <= 3.5
    assert not machine.lock.held
    task.cancel()


async def test_pods_of_each_range_of_priorities_stop_in_order() -> None:
    """The next range when the one before has ended or its time is over; one without pods takes no time."""
    periods = order.by_priority("100000=10s, 10000=1m,1000=4s,0=5s")
    machine = Machine((20, 1.0), (1000, None), (999, 3.0), (100000, 1.0), (-7, 1.0), longest=80.0, periods=periods)
    task = await served(machine)
    machine.lock.said.put_nowait(True)
    await machine.after(12)
    assert [grace for _, grace in machine.told()] == [5.0, 4.0, 5.0, 10.0, 5.0]
    first, second, third, fourth, fifth = [when for when, _ in machine.told()]
    assert first == third == fifth == 0.0
    assert 3.0 <= second <= 3.5
    assert second + 4.0 <= fourth <= second + 4.5
    assert not machine.lock.held
    task.cancel()


async def test_logind_must_wait_for_all_ranges_together() -> None:
    """Else the machine is off before the last of them."""
    machine = Machine(longest=60.0, periods=order.by_priority("0=30s,1000=31s"))
    task = await served(machine)
    assert any("InhibitDelayMaxSec=61" in text for text in machine.events)
    task.cancel()


async def test_a_pod_that_does_not_end_delays_no_more_than_its_period() -> None:
    """The machine shuts down all the same."""
    machine = Machine((0, None), (CRITICAL_PRIORITY, None))
    task = await served(machine)
    machine.lock.said.put_nowait(True)
    await machine.after(21)
    assert machine.told()[1][0] == pytest.approx(20.0, abs=0.3)
    await machine.after(11)
    assert not machine.lock.held
    task.cancel()


async def test_a_cancelled_shutdown_takes_the_lock_again() -> None:
    """The node is as before for pods that come; those that were stopped stay so."""
    machine = Machine((0, 0.0))
    task = await served(machine)
    machine.lock.said.put_nowait(True)
    await machine.after(1)
    machine.lock.said.put_nowait(False)
    await machine.after(1)
    assert machine.lock.held == {2}
    assert ready(machine.manager) == []
    assert [text.rpartition(" ")[2] for text in machine.events] == ["event", "cancellation"]
    task.cancel()


async def test_a_lost_connection_is_made_again_and_a_short_delay_is_said() -> None:
    """What logind grants is its administrator's to raise."""
    machine = Machine(longest=5.0)
    task = await served(machine)
    assert "InhibitDelayMaxSec=30" in machine.events[0]
    machine.lock.said.put_nowait(None)
    await machine.after(2)
    assert machine.connected == 2
    assert machine.lock.held == {2}
    task.cancel()


BUS = """<busconfig><type>system</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>"""


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A system bus of the test's own."""
    if shutil.which("dbus-daemon") is None:
        pytest.skip("dbus-daemon is not installed (Debian: dbus-daemon)")
    (tmp_path / "conf").write_text(BUS.format(path=tmp_path / "bus"))
    daemon = subprocess.Popen(
        ["dbus-daemon", "--nofork", "--print-address", f"--config-file={tmp_path / 'conf'}"], stdout=subprocess.PIPE
    )
    assert daemon.stdout is not None
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", daemon.stdout.readline().decode().strip())
    yield
    daemon.terminate()
    daemon.wait(10)
    daemon.stdout.close()


async def fake_logind(pipes: list[tuple[int, int]]) -> Any:
    """A connection that answers as logind does; the lock is a pipe, whose other end it keeps."""
    from dbus_fast import BusType, Message, MessageType, Variant
    from dbus_fast.aio import MessageBus

    connection = await MessageBus(bus_type=BusType.SYSTEM, negotiate_unix_fd=True).connect()

    def answer(message: Any) -> Any:
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        if message.member == "Inhibit":
            assert (message.body[0], message.body[3]) == ("shutdown", "delay")
            pipes.append(os.pipe())
            return Message.new_method_return(message, "h", [0], unix_fds=[pipes[-1][1]])
        if message.member == "Get":
            return Message.new_method_return(message, "v", [Variant("t", 60_000_000)])
        return None

    connection.add_message_handler(answer)
    await connection.request_name("org.freedesktop.login1")
    return connection


def _at_end(pipe: int) -> bool:
    """Whether nobody holds the other end any more: logind's sign that a lock was released."""
    try:
        return os.read(pipe, 1) == b""
    except BlockingIOError:
        return False


async def test_logind_is_spoken_to_over_d_bus(bus: None) -> None:
    """The lock is a descriptor that is held until the pods have ended; an announcement is a signal."""
    from dbus_fast import Message

    pipes: list[tuple[int, int]] = []
    fake = await fake_logind(pipes)
    clock = SystemClock()
    item = Pod(pod("p", terminationGracePeriodSeconds=1), clock, 0.5)
    events: list[str] = []
    node = Node(lambda: [item], lambda reason, message, warning: events.append(message), lambda: None, clock)
    task = asyncio.ensure_future(ShutdownManager(PERIODS, node, connect=logind.connect).run())
    async with asyncio.timeout(20):
        while not pipes:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        read_end, sent = pipes[0]
        os.close(sent)
        os.set_blocking(read_end, False)
        with pytest.raises(BlockingIOError):
            os.read(read_end, 1)
        signal = Message.new_signal(
            "/org/freedesktop/login1", "org.freedesktop.login1.Manager", "PrepareForShutdown", "b", [True]
        )
        await fake.send(signal)
        while not _at_end(read_end):
            await asyncio.sleep(0.01)
    assert item.over()
    assert events == ["Shutdown manager detected shutdown event"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    fake.disconnect()
    os.close(read_end)


async def test_a_node_without_a_system_bus_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And the agent goes on."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'none'}")
    with pytest.raises(LogindError, match="no system bus"):
        await logind.connect()
