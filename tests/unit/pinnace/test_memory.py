"""Garbage collection in pieces: what is new is collected soon, what is frozen once it may have doubled."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from pinnace import memory
from pinnace.clock import VirtualClock, settle


class Cycle:
    """Refers to itself, so that only a garbage collection frees it."""

    def __init__(self) -> None:
        self.own = self


def aged() -> Cycle:
    """One that collections of the younger generations no longer visit."""
    made = Cycle()
    for _ in range(3):
        gc.collect(1)
    return made


def containers() -> list[list[int]]:
    """As many as make a piece due."""
    first, second, _ = gc.get_threshold()
    return [[] for _ in range(first * (second + 2) * (memory.PIECE + 1))]


def frozen(item: Any) -> bool:
    return all(other is not item for other in gc.get_objects())


@pytest.fixture
async def clock() -> AsyncIterator[VirtualClock]:
    """A clock, with the collector running on it."""
    made, before = VirtualClock(), gc.get_threshold()
    task = asyncio.ensure_future(memory.keep_collecting(made))
    await settle()
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


async def test_many_new_objects_are_collected_and_then_frozen(clock: VirtualClock) -> None:
    """A cycle among them is gone after the next look, and what is alive is not visited by any later collection."""
    kept, lost = aged(), aged()
    gone = weakref.ref(lost)
    del lost
    new = containers()
    await clock.advance(memory.LOOK)
    assert gone() is None
    assert frozen(kept)
    assert frozen(new[0])


async def test_the_oldest_generation_is_never_collected_on_its_own(clock: VirtualClock) -> None:
    """That would stop everything for as long as a visit of all objects takes."""
    before = gc.get_stats()[2]["collections"]
    kept = [containers() for _ in range(20)]
    assert gc.isenabled()
    assert kept
    assert gc.get_stats()[2]["collections"] == before


async def pieces_until(done: Callable[[], bool], clock: VirtualClock, *, quiet: bool) -> float:
    """Pieces that are collected until `done`, as a multiple of those that double the frozen objects."""
    first, second, _ = gc.get_threshold()
    kept, doubling = list[Any](), gc.get_freeze_count() / (first * second * memory.PIECE)
    while not done() and len(kept) < doubling * memory.PATIENCE * 2:
        kept.append(containers())
        await clock.advance(memory.LOOK)
        if quiet:
            await clock.advance(memory.LOOK * memory.QUIET)
    return len(kept) / doubling


async def test_frozen_cycles_are_collected_in_a_quiet_moment_once_objects_may_have_doubled(clock: VirtualClock) -> None:
    cycle, new = aged(), containers()
    await clock.advance(memory.LOOK)
    assert frozen(cycle)
    assert new
    gone = weakref.ref(cycle)
    del cycle
    assert 0.5 < await pieces_until(lambda: gone() is None, clock, quiet=True) < 1.2


async def test_frozen_cycles_are_collected_later_when_no_moment_is_quiet(clock: VirtualClock) -> None:
    cycle, new = aged(), containers()
    await clock.advance(memory.LOOK)
    assert frozen(cycle)
    assert new
    gone = weakref.ref(cycle)
    del cycle
    found = await pieces_until(lambda: gone() is None, clock, quiet=False)
    assert memory.PATIENCE * 0.5 < found < memory.PATIENCE * 1.2
