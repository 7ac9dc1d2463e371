"""Batches of watchers: bounded together, in order, and given up only by those that do not read, when others need the room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from controlplane.requests.unsent import STALLED, Unsent
from controlplane.requests.watching import Change, Type
from controlplane.store import StoredObject
from pinnace.clock import VirtualClock, settle
from pinnace.kinds import CONFIG_MAP

SIZE = 1_000


async def batches(count: int, size: int = SIZE) -> AsyncGenerator[list[Change], None]:
    for number in range(count):
        row = StoredObject(CONFIG_MAP, CONFIG_MAP.key("default", "x"), b"x" * (size - 200), number + 1)
        yield [Change(Type.MODIFIED, number + 1, row)]


class Reader:
    """A watcher: takes a batch when it is told to, and reads until it is ended otherwise."""

    def __init__(self, unsent: Unsent, count: int = 100, size: int = SIZE, user: str | None = None) -> None:
        self.ended = False
        self._batches = unsent.bounded(batches(count, size), self._end, user=user)
        self.waiting: asyncio.Future[list[Change]] | None = None

    def _end(self) -> None:
        self.ended = True

    async def take(self) -> bool:
        """Let go of the batch and ask for the next; whether there was one at once."""
        self.waiting = asyncio.ensure_future(anext(self._batches))
        await settle()
        return self.waiting.done()

    async def leave(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            await asyncio.gather(self.waiting, return_exceptions=True)
        await self._batches.aclose()


async def test_readers_that_take_what_they_get_hold_one_batch_each() -> None:
    """However many they read; and none when they have left."""
    unsent = Unsent(VirtualClock(), limit=4 * SIZE)
    readers = [Reader(unsent) for _ in range(4)]
    for _ in range(20):
        assert all([await reader.take() for reader in readers])
        assert unsent.used == 4 * SIZE
    for reader in readers:
        await reader.leave()
    assert unsent.used == 0


async def test_the_one_that_has_held_its_batch_for_longest_makes_room() -> None:
    """Not before it has had time to read; one that reads meanwhile is not the oldest any more."""
    clock = VirtualClock()
    unsent = Unsent(clock, limit=2 * SIZE)
    stalled, slow, third = (Reader(unsent) for _ in range(3))
    assert await stalled.take()
    assert await slow.take()
    await clock.advance(STALLED - 1)
    assert await slow.take()
    assert not await third.take()
    await clock.advance(0.9)
    assert not stalled.ended
    await clock.advance(0.2)
    await settle()
    assert (stalled.ended, slow.ended, third.ended) == (True, False, False)
    assert third.waiting is not None
    assert third.waiting.done()
    assert unsent.used == 2 * SIZE


async def test_nobody_is_ended_while_there_is_room() -> None:
    """For hours."""
    clock = VirtualClock()
    unsent = Unsent(clock, limit=3 * SIZE)
    stalled, reader = Reader(unsent), Reader(unsent)
    assert await stalled.take()
    await clock.advance(7200.0)
    assert await reader.take()
    assert await reader.take()
    assert not stalled.ended


async def test_room_that_is_released_goes_to_the_first_that_waits() -> None:
    """A large batch is not overtaken by small ones; and one that is larger than the limit is alone."""
    unsent = Unsent(VirtualClock(), limit=3 * SIZE)
    first, large, small = Reader(unsent), Reader(unsent, size=5 * SIZE), Reader(unsent)
    assert await first.take()
    assert not await large.take()
    assert not await small.take()
    await first.leave()
    await settle()
    assert large.waiting is not None
    assert large.waiting.done()
    assert unsent.used == 5 * SIZE
    assert small.waiting is not None
    assert not small.waiting.done()
    for reader in (small, large):
        await reader.leave()
    assert unsent.used == 0


async def test_a_user_does_not_take_the_room_of_others() -> None:
    """However many watchers of one user read nothing, and however many more wait, another user's get their batches at once."""
    clock = VirtualClock()
    unsent = Unsent(clock, limit=4 * SIZE, share=2 * SIZE)
    greedy = [Reader(unsent, user="greedy") for _ in range(10)]
    assert [await reader.take() for reader in greedy] == [True, True, *([False] * 8)]
    other = Reader(unsent, user="other")
    for _ in range(20):
        assert await other.take()
    await clock.advance(STALLED + 0.1)
    await settle()
    # Its own watchers make room for each other.
    assert [reader.ended for reader in greedy[:2]] == [True, True]
    assert not other.ended
    for reader in (*greedy, other):
        await reader.leave()
    assert unsent.used == 0
