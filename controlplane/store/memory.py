"""The backend in a dict: for tests of everything above the store, and for clusters that may forget."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from controlplane.store.backend import Batch, Change, Compacted, Item, Snapshot, Txn
from controlplane.store.feed import Feed, narrow


class MemoryBackend:
    exclusive = True

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._log: list[Batch] = []
        self._revision = 0
        self._compacted = 0
        self._feed = Feed()

    async def load(self, prefix: str) -> Snapshot:
        items = tuple(item for key, item in sorted(self._items.items()) if key.startswith(prefix))
        return Snapshot(items, self._revision)

    async def commit(self, txns: Sequence[Txn]) -> list[int | None]:
        before = len(self._log)
        results = [self._apply(txn) for txn in txns]
        self._feed.publish(self._log[before:])
        return results

    def _apply(self, txn: Txn) -> int | None:
        if not self._holds(txn):
            return None
        changes = tuple(Change(w.key, w.value) for w in txn.writes if w.value is not None or w.key in self._items)
        if not changes:
            return self._revision
        self._revision += 1
        for change in changes:
            if change.value is None:
                self._items.pop(change.key, None)
            else:
                self._items[change.key] = Item(change.key, change.value, self._revision)
        self._log.append(Batch(self._revision, changes))
        return self._revision

    def _holds(self, txn: Txn) -> bool:
        for key, revision in txn.reads.items():
            item = self._items.get(key)
            if (item.revision if item else 0) != revision:
                return False
        return all(self._untouched(prefix, revision) for prefix, revision in txn.ranges.items())

    def _untouched(self, prefix: str, revision: int) -> bool:
        if revision < self._compacted - 1:
            return False
        for batch in reversed(self._log):
            if batch.revision <= revision:
                return True
            if narrow(batch, prefix) is not None:
                return False
        return True

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        if after < self._compacted - 1:
            raise Compacted(f"revision {after} is compacted")
        queue = self._feed.subscribe()
        try:
            for batch in [batch for batch in self._log if batch.revision > after]:
                after = batch.revision
                narrowed = narrow(batch, prefix)
                if narrowed is not None:
                    yield narrowed
            async for batch in self._feed.follow(queue, prefix, after):
                yield batch
        finally:
            self._feed.unsubscribe(queue)

    async def compact(self, before: int) -> None:
        self._compacted = max(self._compacted, min(before, self._revision))
        self._log = [batch for batch in self._log if batch.revision >= self._compacted]

    async def close(self) -> None:
        self._feed.close()
