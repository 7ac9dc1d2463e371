"""Time and randomness, passed in as objects. The only module that may use the sources of either.

Decisions take `now` as a number of seconds since the epoch; whatever waits takes a `Clock`, so that tests run on
virtual time and a lab can move its clock.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
import random
import time
import uuid
from typing import Any, Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds that never go back, for intervals."""

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock."""

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        """Return once `event` is set or `seconds` of this clock have passed (None: no deadline); whether it is set."""


class SystemClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
        return event.is_set()


# Monotonic time at which a virtual clock starts, in seconds: long after "never", which code may write as 0.
_VIRTUAL_UPTIME = 1_000_000.0


class VirtualClock:
    """A clock that stands still until `advance` moves it; sleepers wake in order. For tests.

    Its wall time and its monotonic time are apart: `step` moves only the first, as an administrator or NTP does."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._monotonic = _VIRTUAL_UPTIME
        self._offset = start - self._monotonic
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._monotonic + self._offset

    def monotonic(self) -> float:
        return self._monotonic

    @property
    def sleepers(self) -> int:
        """How many alarms are set."""
        return len(self._sleepers)

    def step(self, seconds: float) -> None:
        """Set the wall clock forward, or back by a negative number. No sleeper wakes."""
        self._offset += seconds

    def stall(self, seconds: float) -> None:
        """Let time pass while nothing runs, as in a process that was frozen."""
        self._monotonic += seconds

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        await self._alarm(seconds)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        if event.is_set():
            return True
        if seconds is not None and seconds <= 0:
            await asyncio.sleep(0)
            return event.is_set()
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(event.wait())]
        if seconds is not None:
            waits.append(self._alarm(seconds))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # A cancelled alarm stays in the heap until its time, and wakes nothing.
            for item in waits:
                item.cancel()
        return event.is_set()

    def _alarm(self, seconds: float) -> asyncio.Future[None]:
        """Done once the clock has advanced by `seconds`."""
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), wake))
        return wake

    async def advance(self, seconds: float) -> None:
        """Advance by `seconds`, letting every sleeper that comes due run before the next."""
        end = self._monotonic + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, wake = heapq.heappop(self._sleepers)
            self._monotonic = max(self._monotonic, due)
            if not wake.done():
                wake.set_result(None)
                await settle()
        self._monotonic = end


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


def suffix_of(text: str) -> str:
    """Five characters that follow from a text, of the alphabet of `Ids.suffix`."""
    number, found = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"), ""
    for _ in range(5):
        number, index = divmod(number, len(_ALPHABET))
        found += _ALPHABET[index]
    return found


def jitter(seconds: float) -> float:
    """`seconds`, up to a fifth longer, so that many waiters do not return as one."""
    return seconds * (1 + random.random() / 5)


def spread(seconds: float) -> float:
    """A moment within the next `seconds`, by chance: what begins together does not act together."""
    return random.uniform(0.0, seconds)


def perf() -> float:
    """A monotonic reading for metrics, benchmarks and shares of time, never for other decisions."""
    return time.perf_counter()


def pause(seconds: float) -> None:
    """Sleep in a thread or a synchronous program."""
    time.sleep(seconds)
