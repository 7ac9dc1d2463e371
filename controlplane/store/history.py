"""The recent events of one resource, bounded in number and in bytes; watchers are positions in it.

A position is the number of events since the resource was loaded. Events are shared: a watcher that does not read holds
nothing, and is cut off when its position falls out.
"""

from __future__ import annotations

from bisect import bisect_right

from controlplane.store.objects import Event, StoredObject
from pinnace.errors import Expired

# Events of one resource that watchers may be behind.
MAX_EVENTS = 5_000
# Bytes of the objects in them, before and after.
MAX_SIZE = 64 << 20
# Bytes of an event without its objects.
_OVERHEAD = 200


class History:
    def __init__(self, floor: int) -> None:
        """Complete above revision `floor`."""
        self.floor = floor
        self._events: list[Event | None] = []
        # Index into _events, and position, of the oldest event.
        self._head = self._start = 0
        self._size = 0

    @property
    def end(self) -> int:
        """The position after the newest event."""
        return self._start + len(self._events) - self._head

    @property
    def size(self) -> int:
        return self._size

    def append(self, event: Event) -> None:
        self._events.append(event)
        self._size += _size(event)
        while self.end - self._start > 1 and (self.end - self._start > MAX_EVENTS or self._size > MAX_SIZE):
            self._drop()

    def _drop(self) -> None:
        oldest = self._at(self._head)
        self.floor = oldest.revision
        self._size -= _size(oldest)
        self._events[self._head] = None
        self._head += 1
        self._start += 1
        # Moving the list costs its length, so it happens once in as many events.
        if self._head > MAX_EVENTS:
            del self._events[: self._head]
            self._head = 0

    def _at(self, index: int) -> Event:
        event = self._events[index]
        assert event is not None
        return event

    def since(self, position: int, most: int, size: int) -> list[Event]:
        """At most `most` events from `position` on, and of objects of `size` bytes, but one if there is one. Raises Expired."""
        if position < self._start:
            raise Expired("too old resource version: the watcher fell behind")
        start = self._head + position - self._start
        run = [event for event in self._events[start : start + most] if event is not None]
        return run if len(run) < 2 else run[: _fitting(run, size)]

    def position(self, after: int) -> int:
        """The position of the first event above revision `after`. Raises Expired."""
        if after < self.floor:
            raise Expired(f"too old resource version: {after} ({self.floor})")
        return self._start + self._index(after) - self._head

    def _index(self, after: int) -> int:
        return bisect_right(self._events, after, lo=self._head, key=_revision)

    def before(self, revision: int) -> dict[str, StoredObject | None]:
        """The objects, at `revision`, that have changed since; None for one that did not exist. Raises Expired."""
        if revision < self.floor:
            raise Expired(f"too old resource version: {revision} ({self.floor})")
        changed: dict[str, StoredObject | None] = {}
        for index in range(len(self._events) - 1, self._index(revision) - 1, -1):
            event = self._at(index)
            changed[event.row.key] = event.old
        return changed


def _revision(event: Event | None) -> int:
    return event.revision if event is not None else 0


def _fitting(run: list[Event], size: int) -> int:
    """How many events from the first on have objects of `size` bytes together; 1 for one that has more."""
    for count, event in enumerate(run):
        size -= _size(event) - _OVERHEAD
        if size < 0:
            return max(count, 1)
    return len(run)


def _size(event: Event) -> int:
    old, new = event.old, event.new
    return _OVERHEAD + (len(old.value) if old is not None else 0) + (len(new.value) if new is not None else 0)
