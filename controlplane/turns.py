"""Bulk work leaves the event loop its turns, so that requests which arrive meanwhile do not wait for all of it."""

from __future__ import annotations

import asyncio
from collections import deque

from pinnace.clock import perf

# Seconds of bulk work in one turn of the event loop: a tenth of the delay that a client notices.
SLICE = 0.005
# The most tasks that a turn wakes.
WAKE = 64


class Turns:
    """Bounds the work of the tasks that share this to SLICE in each turn of the event loop, however many they are."""

    def __init__(self) -> None:
        # When the slice of the present turn ends; None until a task begins it.
        self._until: float | None = None
        # How many tasks a turn wakes: as many as the turns before had time for, and one more.
        self._wake = WAKE
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def offer(self) -> None:
        """Return in a turn of the event loop that has time left: mostly in this one."""
        if self._waiting or not self._has_time():
            self._waiting.append(asyncio.get_running_loop().create_future())
            await self._waiting[-1]
        while not self._has_time():
            self._wake = max(self._wake - 1, 1)
            self._waiting.appendleft(asyncio.get_running_loop().create_future())
            await self._waiting[0]

    def _has_time(self) -> bool:
        if self._until is None:
            self._until = self._begin()
        return perf() < self._until

    def _begin(self) -> float:
        """Returns when the slice ends."""
        asyncio.get_running_loop().call_soon(self._end)
        return perf() + SLICE

    def _end(self) -> None:
        self._wake = min(self._wake + 1, WAKE)
        for _ in range(min(self._wake, len(self._waiting))):
            woken = self._waiting.popleft()
            if not woken.done():
                woken.set_result(None)
        self._until = self._begin() if self._waiting else None
