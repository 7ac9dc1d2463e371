"""A part of the agent that fails is started again, more and more seldom, and ends nothing else."""

from __future__ import annotations

import asyncio

from nodeagent.node import supervisor
from pinnace.clock import VirtualClock, settle


async def test_a_part_that_fails_is_started_again_with_back_off() -> None:
    clock, starts = VirtualClock(0.0), list[float]()

    async def part() -> None:
        starts.append(clock.now())
        raise OSError("disk full")

    task = asyncio.ensure_future(supervisor.keep("part", part, clock))
    await clock.advance(100)
    assert starts[:6] == [0, 1, 3, 7, 15, 31]
    assert starts[6] - starts[5] == supervisor.MAX_RETRY
    task.cancel()


async def test_a_long_run_resets_the_back_off() -> None:
    clock, starts = VirtualClock(0.0), list[float]()

    async def part() -> None:
        starts.append(clock.now())
        if len(starts) == 4:
            await clock.sleep(supervisor.RESET + 1)
        raise OSError("disk full")

    task = asyncio.ensure_future(supervisor.keep("part", part, clock))
    await clock.advance(200)
    assert starts[4] - starts[3] == supervisor.RESET + 1 + supervisor.FIRST_RETRY
    task.cancel()


async def test_a_part_is_started_again_when_its_call_was_cancelled() -> None:
    """As gRPC cancels calls of a channel that is closed. A cancellation of the part itself ends it."""
    clock, starts, ends = VirtualClock(0.0), list[float](), list[asyncio.Future[None]]()

    async def part() -> None:
        starts.append(clock.now())
        ends.append(asyncio.get_running_loop().create_future())
        await ends[-1]

    task = asyncio.ensure_future(supervisor.keep("part", part, clock))
    await settle()
    ends[0].cancel()
    await clock.advance(2)
    assert starts == [0, 1]
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert starts == [0, 1]


async def test_a_part_that_returns_is_not_started_again() -> None:
    starts = []

    async def part() -> None:
        starts.append(1)

    await asyncio.wait_for(supervisor.keep("part", part, VirtualClock()), 5)
    await settle()
    assert starts == [1]
