"""What watchers were given and have not let go of: bounded for all of them together.

A watcher that does not read holds the batch that it was given last, and copies of it on the way to its connection. Many of them
would hold any amount of memory. So each batch takes room for as long as it is held, in order, and when there is none, the
watcher that has held its batch for longest is ended, if that is long enough to say that it does not read. Its client gets no
answer, as it reads none: its call breaks, and a new watch from its last revision has no gap. While there is room, a slow
watcher is not hurried. Source: kube-apiserver's watch cache, which ends watchers that block it, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from controlplane.requests.watching import Change
from pinnace.clock import Clock

log = logging.getLogger("pinnace.watches")
# Bytes of the objects in all batches together. A message of a batch is held three times: as such, in its encoding and by gRPC.
LIMIT = 32 << 20
# Seconds after which a batch that nothing takes may be given up for others.
STALLED = 5.0
# Seconds until the calls of a connection that was ended have ended.
ENDING = 0.1
# Bytes that a change holds apart from its object.
_OVERHEAD = 200


@dataclass(eq=False, slots=True)
class _Batch:
    size: int
    since: float
    end: Callable[[], object]


class Unsent:
    def __init__(self, clock: Clock, *, limit: int = LIMIT) -> None:
        self._clock = clock
        self._limit = limit
        # The oldest first.
        self._batches: dict[_Batch, None] = {}
        self._used = 0
        self._turn = asyncio.Lock()
        self._released = asyncio.Event()

    @property
    def used(self) -> int:
        """Bytes that are held."""
        return self._used

    async def bounded(
        self, batches: AsyncGenerator[list[Change], None], end: Callable[[], object]
    ) -> AsyncGenerator[list[Change], None]:
        """The same batches, each within the limit for as long as it is held. `end` ends the connection of the watcher, and with
        it the call, which may wait in any place. Closes `batches`."""
        async with aclosing(batches):
            async for batch in batches:
                async with self._room(_size(batch), end):
                    yield batch

    @asynccontextmanager
    async def _room(self, size: int, end: Callable[[], object]) -> AsyncIterator[None]:
        """Around what holds so many bytes, of which one batch alone may have more than the limit."""
        # In order, so that a large batch waits for no more than those before it.
        async with self._turn:
            while self._batches and self._used + size > self._limit:
                await self._make_room()
            batch = _Batch(size, self._clock.monotonic(), end)
            self._batches[batch] = None
            self._used += size
        try:
            yield
        finally:
            self._release(batch)

    async def _make_room(self) -> None:
        """Wait until something is released, or end the watcher that has held its batch for longest."""
        oldest = next(iter(self._batches))
        left = oldest.since + STALLED - self._clock.monotonic()
        if left <= 0:
            log.warning("watch_ended reason=does_not_read bytes=%d held=%d", oldest.size, self._used)
            self._release(oldest)
            oldest.end()
        self._released.clear()
        # Others of the same connection are about to be released.
        await self._clock.wait(self._released, left if left > 0 else ENDING)

    def _release(self, batch: _Batch) -> None:
        if batch in self._batches:
            del self._batches[batch]
            self._used -= batch.size
            self._released.set()


def _size(batch: list[Change]) -> int:
    return sum(_OVERHEAD + (len(change.row.value) if change.row is not None else 0) for change in batch)
