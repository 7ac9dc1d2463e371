"""Clocks: a wait for an event that has a deadline, in real and in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from pinnace.clock import Clock, SystemClock, VirtualClock, settle
from tests.support.cancelling import heeded

CLOCKS = pytest.mark.parametrize("clock", [SystemClock(), VirtualClock()], ids=["system", "virtual"])


@CLOCKS
async def test_an_event_that_is_set_is_not_waited_for(clock: Clock) -> None:
    """Whatever the deadline, which may have passed already."""
    event = asyncio.Event()
    event.set()
    for seconds in (None, 60.0, 0.0, -1.0):
        assert await clock.wait(event, seconds)


@CLOCKS
@pytest.mark.parametrize("seconds", [None, 60.0])
async def test_a_wait_ends_with_its_event(clock: Clock, seconds: float | None) -> None:
    """Before its deadline, and without one."""
    event = asyncio.Event()
    task = asyncio.ensure_future(clock.wait(event, seconds))
    await settle()
    assert not task.done()
    event.set()
    assert await task


@CLOCKS
@pytest.mark.parametrize("seconds", [0.0, -5.0])
async def test_a_deadline_that_has_passed_ends_a_wait(clock: Clock, seconds: float) -> None:
    """And it yields to other tasks once: a loop around it cannot block them."""
    others = asyncio.ensure_future(settle(1))
    assert not await clock.wait(asyncio.Event(), seconds)
    await others


async def test_a_wait_ends_at_its_deadline_in_virtual_time() -> None:
    """Neither earlier nor later than asked."""
    clock = VirtualClock()
    task = asyncio.ensure_future(clock.wait(asyncio.Event(), 30.0))
    await clock.advance(29.9)
    assert not task.done()
    await clock.advance(0.2)
    assert not await task


async def test_a_wait_ends_at_its_deadline_in_real_time() -> None:
    """As far as the machine's load lets it."""
    clock = SystemClock()
    before = clock.monotonic()
    assert not await clock.wait(asyncio.Event(), 0.01)
    assert clock.monotonic() - before >= 0.01


@CLOCKS
async def test_a_cancelled_wait_ends(clock: Clock) -> None:
    """Even when its event is set in the same turn of the loop."""

    async def woken() -> None:
        event = asyncio.Event()
        asyncio.get_running_loop().call_soon(event.set)
        await clock.wait(event, 60.0)

    assert await heeded(woken)


async def test_waits_leave_no_tasks() -> None:
    """A loop that waits for years would gather them."""
    clock, event = VirtualClock(), asyncio.Event()
    for _ in range(10):
        task = asyncio.ensure_future(clock.wait(event, 1.0))
        await clock.advance(1.5)
        assert not await task
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_step_of_a_virtual_clock_moves_wall_time_alone() -> None:
    """Sleepers count monotonic time, as on a machine."""
    clock = VirtualClock(1000.0)
    task = asyncio.ensure_future(clock.sleep(10.0))
    before = clock.monotonic()
    await settle()
    clock.step(3600.0)
    await clock.advance(5.0)
    assert (clock.now(), clock.monotonic() - before, task.done()) == (4605.0, 5.0, False)
    clock.step(-7200.0)
    await clock.advance(5.0)
    assert (clock.now(), task.done()) == (-2590.0, True)
