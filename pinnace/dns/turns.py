"""Work of clients, of which the one that has used least processor time is served next: start-time fair queueing.

The cost of a query differs by a factor of a hundred, so turns by number would let a client with expensive ones take most of the
time. A client that was idle begins where the others are: it has saved nothing up. One that has work all the time gets no more
than its part, and what it has used counts while others have not had as much.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

from pinnace import clock
from pinnace.dns.reporting import Reports

# Clients that may have work.
MAX_CLIENTS = 4096
# What is done before the event loop sees to the sockets: pieces of work, and seconds.
PIECES, SECONDS = 16, 0.002

Work = Callable[..., None]


class Turns:
    """`spent` reads the seconds of processor time that this thread has used."""

    def __init__(self, spent: Callable[[], float] = clock.thread_time) -> None:
        self._spent = spent
        self._queues: dict[str, deque[tuple[Work, tuple[Any, ...]]]] = {}
        # Clients with work, each once: by the time of all clients at which its next piece begins.
        self._next: list[tuple[float, int, str]] = []
        # That time for clients which have used more than others have by now, and for all.
        self._used: dict[str, float] = {}
        self._now = 0.0
        self._order = itertools.count()
        self._scheduled: asyncio.Handle | None = None
        self._reports = Reports(clock.SystemClock().monotonic)

    def __len__(self) -> int:
        """Clients that have work."""
        return len(self._queues)

    def queued(self, client: str) -> int:
        return len(self._queues.get(client, ()))

    def put(self, client: str, work: Work, *arguments: Any) -> None:
        """Have the work done when it is the client's turn. `work` should not raise: an exception is logged."""
        queue = self._queues.get(client)
        if queue is None:
            queue = self._queues[client] = deque()
            heapq.heappush(self._next, (max(self._used.get(client, 0.0), self._now), next(self._order), client))
        queue.append((work, arguments))
        if self._scheduled is None:
            self._scheduled = asyncio.get_running_loop().call_soon(self._run)

    def close(self) -> None:
        if self._scheduled is not None:
            self._scheduled.cancel()

    def _run(self) -> None:
        began = spent = self._spent()
        for _ in range(PIECES):
            if not self._next or spent - began > SECONDS:
                break
            self._now, _, client = heapq.heappop(self._next)
            self._one(client)
            before, spent = spent, self._spent()
            self._charge(client, spent - before)
        self._scheduled = asyncio.get_running_loop().call_soon(self._run) if self._next else None

    def _one(self, client: str) -> None:
        work, arguments = self._queues[client].popleft()
        try:
            work(*arguments)
        except Exception:
            self._reports.exception("work_failed")

    def _charge(self, client: str, seconds: float) -> None:
        used = self._now + seconds
        if self._queues[client]:
            heapq.heappush(self._next, (used, next(self._order), client))
        else:
            del self._queues[client]
        self._used[client] = used
        if len(self._used) > MAX_CLIENTS:
            self._used = {one: time for one, time in self._used.items() if time > self._now and one in self._queues}
