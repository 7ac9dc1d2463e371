"""Bulk work in slices: what waits for the event loop waits for one of them."""

from __future__ import annotations

import asyncio

from controlplane.turns import SLICE, Turns
from pinnace.clock import perf


def work(seconds: float) -> None:
    until = perf() + seconds
    while perf() < until:
        pass


async def test_tasks_together_work_for_one_slice_in_a_turn() -> None:
    """And all get theirs."""
    turns, done = Turns(), list[int]()

    async def piece(number: int) -> None:
        await turns.offer()
        # At least so long: two begin within a slice, however slow the machine is.
        work(SLICE * 0.6)
        done.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(piece(number))
        await asyncio.sleep(0)
        while len(done) < 20:
            before = len(done)
            await asyncio.sleep(0)
            assert len(done) - before <= 2
    assert sorted(done) == list(range(20))


async def test_little_work_waits_for_no_turn() -> None:
    """Neither at the beginning of a turn nor long after the one before."""
    turns = Turns()
    for _ in range(3):
        other = asyncio.ensure_future(asyncio.sleep(0))
        await turns.offer()
        await turns.offer()
        assert not other.done()
        await other
        work(SLICE)
        await asyncio.sleep(0)


async def test_a_cancelled_task_holds_up_no_other() -> None:
    turns = Turns()

    async def long() -> None:
        await turns.offer()
        work(SLICE)

    first, cancelled, other = map(asyncio.ensure_future, (long(), turns.offer(), turns.offer()))
    await asyncio.sleep(0)
    cancelled.cancel()
    async with asyncio.timeout(10):
        await asyncio.gather(first, other)
    assert cancelled.cancelled()
