"""Advances of a lab's clock (`pinnace.labclock`), and their order.

The control plane's time moves first: tokens and certificates that agents ask for then are of the new time. Timers that are due
act at once. Then agents move along and give a sign of life, and only when those that did have their leases renewed does the
advance count as silence of the others. So a live node stays Ready, and a dead one is lost without waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pinnace import labclock
from pinnace.clock import Clock
from pinnace.errors import BadRequest
from pinnace.labclock import LabClock

# Tell the agents, and renew the leases of those that give a sign of life; returns the nodes of the others.
Tell = Callable[[], Awaitable[list[str]]]


class LabTime:
    def __init__(self, clock: Clock, tell: Tell) -> None:
        self._clock = clock
        self._tell = tell
        self._turn = asyncio.Lock()
        self._unasked = 0.0

    def unasked(self) -> float:
        """Seconds of an advance in which no agent has been asked for a sign of life yet."""
        return self._unasked

    @property
    def adjustable(self) -> bool:
        return isinstance(self._clock, LabClock)

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock.now()

    @property
    def offset(self) -> float:
        """Seconds by which it is ahead of the machine's clock."""
        return labclock.offset(self._clock)

    async def advance(self, seconds: float) -> list[str]:
        """Returns the nodes whose agents are connected and gave no sign of life. Raises BadRequest, or as the store does."""
        if not isinstance(self._clock, LabClock):
            raise BadRequest("the time of this cluster is its machine's: only a lab's can be advanced (kctl lab clock)")
        async with self._turn:
            self._unasked = seconds
            try:
                self._clock.advance(seconds)
                return await self._tell()
            finally:
                self._unasked = 0.0
