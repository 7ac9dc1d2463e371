"""What watchers were given and have not let go of: bounded for each user, and for all of them together.

A watcher that does not read holds the batch that it was given last, and copies of it on the way to its connection. Many of them
would hold any amount of memory. So each batch takes room for as long as it is held, in order, and when there is none, the
watcher that has held its batch for longest is ended, if that is long enough to say that it does not read. Its client gets no
answer, as it reads none: its call breaks, and a new watch from its last revision has no gap. While there is room, a slow
watcher is not hurried. A user's watchers have a share of the room, and wait for each other when that is full.
Source: kube-apiserver's watch cache, which ends watchers that block it, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from controlplane.requests.watching import Change
from pinnace.clock import Clock

log = logging.getLogger("pinnace.watches")
# Bytes of the objects in all batches together. A message of a batch is held three times: as such, in its encoding and by gRPC.
LIMIT = 32 << 20
# Those of one user's watchers, so that none takes the room of others.
SHARE = LIMIT // 4
# Seconds after which a batch that nothing takes may be given up for others.
STALLED = 5.0
# Seconds until the calls of a connection that was ended have ended.
ENDING = 0.1
# Bytes that a change holds apart from its object.
_OVERHEAD = 200


@dataclass(eq=False, slots=True)
class _Batch:
    """`rooms`: those that it is in."""

    size: int
    end: Callable[[], object]
    since: float = 0.0
    rooms: list[_Room] = field(default_factory=list)

    def release(self) -> None:
        while self.rooms:
            self.rooms.pop().release(self)


class _Room:
    """The room of all watchers together, or of those of one user."""

    def __init__(self, clock: Clock, limit: int) -> None:
        self._clock = clock
        self._limit = limit
        # The oldest first.
        self._batches: dict[_Batch, None] = {}
        self.used = 0
        self._turn = asyncio.Lock()
        self._released = asyncio.Event()

    async def take(self, batch: _Batch) -> None:
        """Waits until there is room, of which one batch alone may have more than the limit."""
        # In order, so that a large batch waits for no more than those before it.
        async with self._turn:
            while self._batches and self.used + batch.size > self._limit:
                await self._make_room()
            batch.since = self._clock.monotonic()
            self._batches[batch] = None
            self.used += batch.size
            batch.rooms.append(self)

    async def _make_room(self) -> None:
        """Wait until something is released, or end the watcher that has held its batch for longest."""
        oldest = next(iter(self._batches))
        left = oldest.since + STALLED - self._clock.monotonic()
        if left <= 0:
            log.warning("watch_ended reason=does_not_read bytes=%d held=%d", oldest.size, self.used)
            oldest.release()
            oldest.end()
        self._released.clear()
        # Others of the same connection are about to be released.
        await self._clock.wait(self._released, left if left > 0 else ENDING)

    def release(self, batch: _Batch) -> None:
        del self._batches[batch]
        self.used -= batch.size
        self._released.set()


class Unsent:
    def __init__(self, clock: Clock, *, limit: int = LIMIT, share: int = SHARE) -> None:
        self._clock = clock
        self._share = share
        self._all = _Room(clock, limit)
        # As long as a watcher of the user has a batch, or waits with one.
        self._users: WeakValueDictionary[str, _Room] = WeakValueDictionary()

    @property
    def used(self) -> int:
        """Bytes that are held."""
        return self._all.used

    async def bounded(
        self, batches: AsyncGenerator[list[Change], None], end: Callable[[], object], *, user: str | None = None
    ) -> AsyncGenerator[list[Change], None]:
        """The same batches, each within the limits for as long as it is held. `end` ends the connection of the watcher, and
        with it the call, which may wait in any place. `user`: None for the control plane itself. Closes `batches`."""
        async with aclosing(batches):
            async for changes in batches:
                batch = _Batch(_size(changes), end)
                try:
                    # The user's own room first: watchers that wait there keep no others waiting.
                    if user is not None:
                        await self._room_of(user).take(batch)
                    await self._all.take(batch)
                    yield changes
                finally:
                    batch.release()

    def _room_of(self, user: str) -> _Room:
        return self._users.setdefault(user, _Room(self._clock, self._share))


def _size(batch: list[Change]) -> int:
    return sum(_OVERHEAD + (len(change.row.value) if change.row is not None else 0) for change in batch)
