"""The backend in a dict: for tests of everything above the store, and for clusters that may forget."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from controlplane.store.backend import Batch, Change, Committed, Compacted, Item, Limits, Result, Snapshot, Txn, ordered
from controlplane.store.broadcaster import Broadcaster, narrow, resumed


class MemoryBackend:
    exclusive = True
    limits = Limits(operations=10_000, size=64 << 20, group=200, commits=1)

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._log: list[Batch] = []
        self._revision = 0
        self._compacted = 0
        self._broadcaster = Broadcaster()

    async def load(self, prefix: str) -> Snapshot:
        items = tuple(item for key, item in sorted(self._items.items()) if key.startswith(prefix))
        return Snapshot(items, self._revision)

    async def commit(self, txns: Sequence[Txn]) -> list[Result]:
        before = len(self._log)
        results = [self.limits.refusal(txn) or self._apply(txn) for txn in txns]
        self._broadcaster.publish(self._log[before:])
        return results

    async def current(self) -> int:
        return self._revision

    def _apply(self, txn: Txn) -> Result:
        if not self._holds(txn):
            return None
        revisions, changes = [0] * len(txn.writes), []
        for index in ordered(txn.writes):
            write = txn.writes[index]
            if write.value is None and write.key not in self._items:
                continue
            self._revision = revisions[index] = self._revision + 1
            changes.append(Change(write.key, write.value, self._revision))
            if write.value is None:
                del self._items[write.key]
            else:
                self._items[write.key] = Item(write.key, write.value, self._revision)
        if changes:
            self._log.append(Batch(self._revision, tuple(changes), txn.origin))
        return Committed(tuple(revisions), self._revision)

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
            if any(change.revision > revision and change.key.startswith(prefix) for change in batch.changes):
                return False
        return True

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        if after < self._compacted - 1:
            raise Compacted(f"revision {after} is compacted")
        queue = self._broadcaster.subscribe()
        try:
            for batch in [batch for batch in self._log if batch.revision > after]:
                narrowed = narrow(resumed(batch, after), prefix)
                after = batch.revision
                if narrowed is not None:
                    yield narrowed
            async for batch in self._broadcaster.follow(queue, prefix, after):
                yield batch
        finally:
            self._broadcaster.unsubscribe(queue)

    async def compact(self, before: int) -> None:
        self._compacted = max(self._compacted, min(before, self._revision))
        self._log = [batch for batch in self._log if batch.revision >= self._compacted]

    async def close(self) -> None:
        self._broadcaster.close()
