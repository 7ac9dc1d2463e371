"""Work of clients, of which the one that has used least time is served next: start-time fair queueing.

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

# Pieces of work of one client: ASSURED in any case, and further ones up to MAX_QUEUED while it has fewer than are left of
# MAX_TOTAL, so that clients which flood leave room for the burst of another: an application may resolve hundreds of names at
# once.
ASSURED, MAX_QUEUED, MAX_TOTAL = 64, 2048, 16_384
# Clients that may have some.
MAX_CLIENTS = 4096
# What is done before the event loop sees to the sockets: pieces of work, and seconds.
PIECES, SECONDS = 16, 0.002

Work = Callable[..., None]


class Turns:
    """`spent` is in seconds, monotonic. Real time serves as well as the thread's, which costs ten times as much to read: what
    other processes take meanwhile meets clients in proportion to their work."""

    def __init__(self, spent: Callable[[], float] = clock.perf) -> None:
        self._spent = spent
        self._queues: dict[str, deque[tuple[Work, tuple[Any, ...]]]] = {}
        # Clients with work, each once: by the time of all clients at which its next piece begins.
        self._next: list[tuple[float, int, str]] = []
        self._total = 0
        # That time for clients which have used more than others have by now, and for all.
        self._used: dict[str, float] = {}
        self._now = 0.0
        self._order = itertools.count()
        self._scheduled: asyncio.Handle | None = None
        self._reports = Reports(clock.SystemClock().monotonic)

    def __len__(self) -> int:
        """Clients that have work."""
        return len(self._queues)

    def put(self, client: str, work: Work, *arguments: Any) -> None:
        """Have the work done when it is the client's turn. `work` should not raise: an exception is logged."""
        self._add(client, (work, arguments))
        if self._scheduled is None:
            self._scheduled = asyncio.get_running_loop().call_soon(self._run)

    def offer(self, client: str, work: Work, *arguments: Any) -> bool:
        """`put`, for work that is lost (False) when its client has as many pieces as it may, or MAX_CLIENTS have some; `run`
        has to follow."""
        queued = self._queues.get(client)
        if queued is None:
            if len(self._queues) >= MAX_CLIENTS:
                return False
        elif len(queued) >= ASSURED and len(queued) >= min(MAX_QUEUED, MAX_TOTAL - self._total):
            return False
        self._add(client, (work, arguments))
        return True

    def run(self) -> None:
        """Begin at once, unless there is work already."""
        if self._scheduled is None:
            self._run()

    def _add(self, client: str, piece: tuple[Work, tuple[Any, ...]]) -> None:
        queue = self._queues.get(client)
        if queue is None:
            queue = self._queues[client] = deque()
            heapq.heappush(self._next, (max(self._used.get(client, 0.0), self._now), next(self._order), client))
        queue.append(piece)
        self._total += 1

    def close(self) -> None:
        if self._scheduled is not None:
            self._scheduled.cancel()

    def _run(self) -> None:
        began = spent = self._spent()
        for _ in range(PIECES):
            if not self._next or spent - began > SECONDS:
                break
            self._now, _, client = heapq.heappop(self._next)
            queue = self._queues[client]
            work, arguments = queue.popleft()
            self._total -= 1
            try:
                work(*arguments)
            except Exception:
                self._reports.exception("work_failed")
            before, spent = spent, self._spent()
            used = self._used[client] = self._now + spent - before
            if queue:
                heapq.heappush(self._next, (used, next(self._order), client))
            else:
                del self._queues[client]
        if len(self._used) > MAX_CLIENTS:
            self._used = {one: time for one, time in self._used.items() if time > self._now and one in self._queues}
        self._scheduled = asyncio.get_running_loop().call_soon(self._run) if self._next else None
