"""The queue of keys that wait for reconciliation. No I/O, no clock: times are monotonic seconds of the caller.

A key is in the queue at most once, and is never given out while it is being processed; a key that is added meanwhile is
given out again afterwards. Source: the workqueue of client-go.
"""

from __future__ import annotations

import heapq
from collections import deque

# Seconds until a failed key is tried again: the first time, doubled each time, at most.
FIRST_BACKOFF = 0.05
MAX_BACKOFF = 30.0
# Doublings after which the back-off is at its maximum; more would overflow a float.
_MAX_DOUBLINGS = 16


class WorkQueue:
    """Keys that are ready, in order of arrival, and keys that will be at a later time."""

    def __init__(self) -> None:
        self._ready: deque[str] = deque()
        # Keys to process: in `_ready`, or being processed and to be processed again.
        self._dirty: set[str] = set()
        self._processing: set[str] = set()
        self._delayed: dict[str, float] = {}
        # (due, key); an entry that `_delayed` contradicts is stale.
        self._heap: list[tuple[float, str]] = []
        self._failures: dict[str, int] = {}

    def __len__(self) -> int:
        """Keys that are ready."""
        return len(self._ready)

    def add(self, key: str) -> None:
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._ready.append(key)

    def add_at(self, key: str, due: float) -> None:
        """Add the key once it is `due`. Of several times the earliest counts."""
        if due < self._delayed.get(key, float("inf")):
            self._delayed[key] = due
            heapq.heappush(self._heap, (due, key))

    def get(self, now: float) -> str | None:
        """Take the next key; `done` gives it back. None when none is ready.

        A later time for the key is dropped: the reconciliation that follows decides it anew."""
        self._promote(now)
        if not self._ready:
            return None
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        self._delayed.pop(key, None)
        return key

    def done(self, key: str) -> None:
        """The key has been processed."""
        self._processing.discard(key)
        if key in self._dirty:
            self._ready.append(key)

    def next_due(self) -> float | None:
        """When the next delayed key becomes ready; None without one."""
        while self._heap and self._delayed.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def fail(self, key: str) -> float:
        """Count a failure of the key; returns its back-off in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return float(min(FIRST_BACKOFF * 2 ** min(failures, _MAX_DOUBLINGS), MAX_BACKOFF))

    def forgive(self, key: str) -> None:
        """Reset the back-off of the key."""
        self._failures.pop(key, None)

    def _promote(self, now: float) -> None:
        while (due := self.next_due()) is not None and due <= now:
            _, key = heapq.heappop(self._heap)
            del self._delayed[key]
            self.add(key)
