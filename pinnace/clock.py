"""Time and chance, handed in. The only module that may touch the sources of either.

Decisions take `now` as a number of seconds since the epoch; whatever waits takes a `Clock`, so that tests run on
virtual time and a lab can move its clock.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
import uuid
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds that never go back, for intervals."""

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock."""


class SystemClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class VirtualClock:
    """A clock that stands still until `advance` moves it; sleepers wake in order."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), wake))
        await wake

    async def advance(self, seconds: float) -> None:
        """Move time on, letting every sleeper that comes due run before the next."""
        end = self._now + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, wake = heapq.heappop(self._sleepers)
            self._now = max(self._now, due)
            if not wake.done():
                wake.set_result(None)
            await settle()
        self._now = end


async def settle(rounds: int = 20) -> None:
    """Let tasks that are ready run; enough rounds for a chain of hand-overs."""
    for _ in range(rounds):
        await asyncio.sleep(0)


class Ids(Protocol):
    def uid(self) -> str:
        """A fresh object uid."""

    def suffix(self) -> str:
        """Five characters that end a generated name."""


# No vowels and no look-alikes, so that a generated name spells nothing (Kubernetes' own alphabet for this).
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


class RandomIds:
    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)
        self._seeded = seed is not None

    def uid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4) if self._seeded else uuid.uuid4())

    def suffix(self) -> str:
        return "".join(self._random.choices(_ALPHABET, k=5))


def jitter(seconds: float) -> float:
    """`seconds`, up to a fifth longer, so that many waiters do not return as one."""
    return seconds * (1 + random.random() / 5)


def perf() -> float:
    """A monotonic reading for metrics and benchmarks, never for decisions."""
    return time.perf_counter()


def pause(seconds: float) -> None:
    """Sleep in a thread or a synchronous program."""
    time.sleep(seconds)
