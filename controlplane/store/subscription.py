"""A watcher's end of the mirror: events wait in it until they are taken, and one that falls behind is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from controlplane.store.rows import Event
from pinnace.errors import Expired
from pinnace.kinds import Kind

# Events that a watcher may be behind.
MAX_BEHIND = 5_000


class Subscription:
    """Events of one kind after a snapshot. Iterate over lists of events; slow readers get Expired."""

    def __init__(self, kind: Kind | None, *, revision: int, after: int = 0, left: Callable[[Subscription], None]) -> None:
        """`kind` None: of all kinds. `revision` is that of the snapshot, `left` is called when it is closed."""
        self._kind = kind
        self._after = after
        self._left = left
        self._pending: list[Event] = []
        self._wake = asyncio.Event()
        self._lost = False
        self.revision = revision

    def offer(self, events: list[Event], revision: int) -> None:
        kind, after = self._kind, self._after
        wanted = [event for event in events if event.revision > after and (kind is None or event.row.kind is kind)]
        self.revision = revision
        # Once something was left out, nothing that came after it may follow.
        if not wanted or self._lost:
            return
        if len(self._pending) + len(wanted) > MAX_BEHIND:
            self._lost = True
        else:
            self._pending += wanted
        self._wake.set()

    def lose(self) -> None:
        self._lost = True
        self._wake.set()

    async def next(self) -> list[Event]:
        """The events since the last call, waiting for one. Raises Expired when this reader fell behind."""
        while not self._pending:
            if self._lost:
                raise Expired("too old resource version: the watcher fell behind")
            self._wake.clear()
            await self._wake.wait()
        events, self._pending = self._pending, []
        return events

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        while True:
            yield await self.next()

    def close(self) -> None:
        self._left(self)
