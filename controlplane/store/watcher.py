"""A reader of events: a position in the history of each resource that it watches. It holds no events of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from controlplane.store.objects import Event
from pinnace.errors import Expired

if TYPE_CHECKING:
    from controlplane.store.resourcecache import ResourceCache

# Events of one resource that one call of `next` returns, and the bytes of their objects, of which one event may have more.
BATCH, BATCH_SIZE = 1_000, 64 << 10


class Watcher:
    """Events after a snapshot, in order of revision. Iterate over lists of events; slow readers get Expired."""

    def __init__(self, *, revision: int, after: int = 0, closed: Callable[[Watcher], None]) -> None:
        """`revision` is that of the snapshot; events up to `after`, which may lie in the future, are left out. `closed` is
        called by `close`."""
        self.revision = revision
        self._after = after
        self._closed = closed
        self._positions: dict[ResourceCache, int] = {}
        # Those that may have events past the position: an event costs nothing for the other resources.
        self._changed: set[ResourceCache] = set()
        self._wake = asyncio.Event()
        self._lost = False

    def add(self, cache: ResourceCache, position: int) -> None:
        """Also watch `cache`, from `position` on."""
        self._positions[cache] = position
        cache.watchers.add(self)
        self.wake(cache)

    def wake(self, cache: ResourceCache) -> None:
        """`cache` has events."""
        self._changed.add(cache)
        self._wake.set()

    def lose(self) -> None:
        """There is a gap: nothing can be told any more."""
        self._lost = True
        self._wake.set()

    @property
    def caught_up(self) -> bool:
        """Whether nothing waits for this reader."""
        return not self._changed and not self._lost

    async def next(self) -> list[Event]:
        """The events since the last call, or many of them, waiting for one. Raises Expired when this reader fell behind."""
        while True:
            self._wake.clear()
            if self._lost:
                raise Expired("too old resource version: the watcher fell behind")
            events = self._collect()
            if events:
                return events
            # Unless all that was taken lies before where this watcher begins, and there is more.
            if not self._changed:
                await self._wake.wait()

    def _collect(self) -> list[Event]:
        runs = {cache: cache.history.since(self._positions[cache], BATCH, BATCH_SIZE) for cache in self._changed}
        # Where a run was cut, later events of other resources must wait for the rest of it.
        cuts = [run[-1].revision for cache, run in runs.items() if self._positions[cache] + len(run) < cache.history.end]
        cut = min(cuts) if cuts else None
        self._changed = set() if cut is None else set(runs)
        events: list[Event] = []
        for cache, run in runs.items():
            if cut is not None and run and run[-1].revision > cut:
                run = [event for event in run if event.revision <= cut]
            self._positions[cache] += len(run)
            events += run
        if len(runs) > 1:
            events.sort(key=_revision)
        return events if not events or events[0].revision > self._after else [e for e in events if e.revision > self._after]

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        while True:
            yield await self.next()

    def close(self) -> None:
        for cache in self._positions:
            cache.watchers.discard(self)
        self._positions.clear()
        self._changed.clear()
        self._closed(self)


def _revision(event: Event) -> int:
    return event.revision
