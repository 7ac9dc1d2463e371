"""What clients have under way, in all and by client: at a bound the client that has most gives way, so that each is served.

For TCP connections and for queries that wait. Where a bound refused the newest instead, as many clients as exhaust it together
would keep out all others. Pure: the owner of a slot ends it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Slot:
    """A connection or query of a client. `since`: when it last became busy or idle, in events of all slots."""

    __slots__ = ("client", "end", "is_busy", "since")

    def __init__(self, client: str, end: Callable[[], None], since: int) -> None:
        self.client, self.end, self.since = client, end, since
        self.is_busy = False


class Shares:
    def __init__(self, most: int, each: int) -> None:
        """Slots in all and of one client."""
        self._most, self._each = most, each
        self._held: dict[str, dict[Slot, None]] = {}
        self._total = 0
        self._events = itertools.count()

    def take(self, client: str, end: Callable[[], None]) -> Slot:
        """A slot for the client, in place of the longest idle one of the client that has most where there is no other; of its
        own where it has its share. `end` is called when the slot is taken away; it must not raise."""
        held = self._held.get(client, {})
        if len(held) >= self._each or self._total >= self._most:
            self._evict(client if len(held) >= self._each else self._largest())
        slot = Slot(client, end, next(self._events))
        self._held.setdefault(client, {})[slot] = None
        self._total += 1
        return slot

    @contextmanager
    def taken(self, client: str, end: Callable[[], None]) -> Iterator[Slot]:
        """`take`, until the end of the block."""
        slot = self.take(client, end)
        try:
            yield slot
        finally:
            self.release(slot)

    def has_room(self, client: str) -> bool:
        """Whether the client gets a slot without giving up one of its own: there is a free one, or another has more."""
        own = len(self._held.get(client, ()))
        return own < self._each and (self._total < self._most or own + 1 < max(map(len, self._held.values())))

    def touch(self, slot: Slot, *, busy: bool) -> None:
        """The slot is busy or idle from now on."""
        slot.is_busy, slot.since = busy, next(self._events)

    def _largest(self) -> str:
        """The client with most slots; of several the one whose slot is idle longest."""
        most = max(map(len, self._held.values()))
        largest = [client for client, held in self._held.items() if len(held) == most]
        return (
            min(largest, key=lambda client: min(slot.since for slot in self._held[client])) if len(largest) > 1 else largest[0]
        )

    def _evict(self, client: str) -> None:
        slot = min(self._held[client], key=lambda slot: (slot.is_busy, slot.since))
        self.release(slot)
        slot.end()

    def release(self, slot: Slot) -> None:
        """Without effect on one that was taken away."""
        held = self._held.get(slot.client, {})
        if slot in held:
            del held[slot]
            self._total -= 1
            if not held:
                del self._held[slot.client]
