"""Fan-out of committed batches to watchers inside one process, for the backends that commit here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from controlplane.store.backend import Batch, Compacted

# A watcher this many batches behind is cut off: waiting for it would let one slow reader hold all memory.
MAX_BEHIND = 10_000


class Broadcaster:
    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Batch | None]] = set()

    def publish(self, batches: list[Batch]) -> None:
        for queue in tuple(self._queues):
            for batch in batches:
                try:
                    queue.put_nowait(batch)
                except asyncio.QueueFull:
                    self._queues.discard(queue)
                    break

    def subscribe(self) -> asyncio.Queue[Batch | None]:
        queue: asyncio.Queue[Batch | None] = asyncio.Queue(MAX_BEHIND)
        self._queues.add(queue)
        return queue

    def unsubscribe(self, queue: asyncio.Queue[Batch | None]) -> None:
        self._queues.discard(queue)

    def close(self) -> None:
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)
        self._queues.clear()

    async def follow(self, queue: asyncio.Queue[Batch | None], prefix: str, after: int) -> AsyncIterator[Batch]:
        """Batches of `queue` above `after` that touch `prefix`, narrowed to it."""
        while True:
            if queue not in self._queues and queue.empty():
                raise Compacted("the watcher fell behind")
            batch = await queue.get()
            if batch is None:
                return
            if batch.revision <= after:
                continue
            narrowed = narrow(resumed(batch, after), prefix)
            if narrowed is not None:
                yield narrowed


def narrow(batch: Batch, prefix: str) -> Batch | None:
    """The part of `batch` under `prefix`, None when there is none."""
    changes = tuple(change for change in batch.changes if change.key.startswith(prefix))
    if len(changes) == len(batch.changes):
        return batch
    return Batch(batch.revision, changes, batch.origin) if changes else None


def resumed(batch: Batch, after: int) -> Batch:
    """`batch` without the changes up to `after`, which a watcher may have from the middle of the transaction."""
    if not batch.changes or batch.changes[0].revision > after:
        return batch
    return Batch(batch.revision, tuple(change for change in batch.changes if change.revision > after), batch.origin)
