"""All state in memory, as the backend's watch tells it: a cache per resource, and who watches.

It changes only by `replace` and `take`, so every reader sees one order of events.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol

from google.protobuf.message import DecodeError

from controlplane.store.backend import Batch, Change, Item, Snapshot
from controlplane.store.objects import Event, StoredObject
from controlplane.store.origin import Origin
from controlplane.store.resourcecache import ResourceCache
from controlplane.store.watcher import Watcher
from pinnace.errors import Timeout
from pinnace.kinds import Kind, Kinds

log = logging.getLogger("pinnace.store")
# How long a writer waits for the cache before it gives up, in seconds.
PATIENCE = 10.0


class Tap(Protocol):
    """Is told of every event once, with its origin, in order. Called in the middle of a change: it only takes note."""

    def take(self, event: Event, origin: Origin | None) -> None: ...

    def skip(self, before: int, after: int) -> None:
        """The events above revision `before` and up to `after` are lost."""


class WatchCache:
    def __init__(self, kinds: Kinds) -> None:
        self.kinds = kinds
        self.revision = 0
        # By prefix of the keys, which a kind keeps when it is removed and added again.
        self._resources: dict[str, ResourceCache] = {}
        # Items of no kind that is served: of one that may be added later.
        self._unclaimed: dict[str, Item] = {}
        # Objects that cannot be read, and their revisions: absent to readers, and replaced when they are created anew.
        self.unreadable: dict[str, int] = {}
        self._watchers: set[Watcher] = set()
        # Those of every kind, also of kinds to come.
        self._general: set[Watcher] = set()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self.tap: Tap | None = None

    def current_watchers(self) -> tuple[Watcher, ...]:
        return tuple(self._watchers)

    # Reading

    def of(self, kind: Kind) -> ResourceCache:
        """The cache of a kind's resource."""
        kind = kind.storage
        found = self._resources.get(kind.prefix)
        if found is not None:
            if found.kind is not kind and self.kinds.at(f"{kind.prefix}x") is kind:
                # Removed and added again, with other properties.
                found.rebind(kind)
            return found
        keys = [key for key in self._unclaimed if key.startswith(kind.prefix)]
        return self._open(kind, [self._unclaimed.pop(key) for key in keys])

    def _open(self, kind: Kind, items: list[Item]) -> ResourceCache:
        opened = self._resources[kind.prefix] = ResourceCache(self.kinds, kind, self._readable(kind, items), self.revision)
        for watcher in self._general:
            watcher.add(opened, opened.history.end)
        return opened

    def _readable(self, kind: Kind, items: Iterable[Item]) -> list[StoredObject]:
        """The objects of the items that are one. The others cost their users one object, not everyone the start."""
        rows = []
        for item in items:
            row = StoredObject(kind, item.key, item.value, item.revision)
            if _is_readable(row):
                rows.append(row)
            else:
                self._hide(item.key, item.revision)
        return rows

    def _hide(self, key: str, revision: int) -> None:
        log.error("object_unreadable key=%s revision=%d", key, revision)
        self.unreadable[key] = revision

    def has(self, key: str) -> bool:
        """Whether an object is served at a key of the store."""
        kind = self.kinds.at(key)
        return key in self._unclaimed if kind is None else key in self.of(kind).objects

    def row(self, kind: Kind, key: str) -> StoredObject | None:
        return self.of(kind).objects.get(key)

    def rows(self, kind: Kind, namespace: str = "") -> list[StoredObject]:
        """In order of key."""
        return self.of(kind).rows(prefix_of(kind, namespace))

    def rows_by(self, kind: Kind, index: str, value: str) -> list[StoredObject]:
        """Objects whose index `index` has `value`, in order of key; the resource declares the indexes. Raises KeyError."""
        return self.of(kind).by_index(index, value)

    def view_and_watch(self, *wanted: Kind) -> tuple[list[StoredObject], Watcher]:
        """The objects now and the events after them, in one order, of these kinds or of every kind."""
        watcher = self._watch(self.revision)
        for kind in wanted or self.kinds:
            cache = self.of(kind)
            watcher.add(cache, cache.history.end)
        if not wanted:
            self._general.add(watcher)
        return [row for kind in wanted or self.kinds for row in self.rows(kind)], watcher

    def watch_from(self, kind: Kind, after: int) -> Watcher:
        """Events after revision `after`, which another control plane may have reached before this one. Raises Expired
        when history does not reach back that far."""
        position = self.of(kind).history.position(after)
        watcher = self._watch(after)
        watcher.add(self.of(kind), position)
        return watcher

    def _watch(self, after: int) -> Watcher:
        watcher = Watcher(revision=self.revision, after=after, closed=self._closed)
        self._watchers.add(watcher)
        return watcher

    def _closed(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)
        self._general.discard(watcher)

    # Following

    async def reached(self, revision: int) -> None:
        """Wait until it is at `revision`. Raises Timeout."""
        if self.revision >= revision:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((revision, waiter))
        try:
            async with asyncio.timeout(PATIENCE):
                await waiter
        except TimeoutError:
            raise Timeout("the store did not catch up in time") from None

    def replace(self, snapshot: Snapshot) -> None:
        """Start over from what the backend has now. Watchers have a gap and must list again."""
        if self.tap is not None:
            self.tap.skip(self.revision, snapshot.revision)
        self.revision = snapshot.revision
        # Deleted during the gap, perhaps a definition: its kind goes first, so that its names are free for another.
        gone = {*self.unreadable, *(key for cache in self._resources.values() for key in cache.objects)}
        for key in sorted(gone.difference(item.key for item in snapshot.items)):
            self.kinds.observe(key, None)
        self._resources.clear()
        self.unreadable.clear()
        for item in snapshot.items:
            self.kinds.observe(item.key, item.value)
        items: dict[Kind | None, list[Item]] = {kind: [] for kind in (*self.kinds, None)}
        for item in snapshot.items:
            items[self.kinds.at(item.key)].append(item)
        self._unclaimed = {item.key: item for item in items.pop(None)}
        for watcher in tuple(self._watchers):
            watcher.lose()
        self._watchers.clear()
        self._general.clear()
        for kind, found in items.items():
            if kind is not None:
                self._open(kind, found)
        self._wake()

    def take(self, batch: Batch) -> None:
        """Follow one commit of the backend."""
        touched: dict[ResourceCache, None] = {}
        for change in batch.changes:
            self.kinds.observe(change.key, change.value)
            kind = self.kinds.at(change.key)
            if kind is not None:
                cache = self.of(kind)
                event = cache.take(change.key, self._read(change), change.revision)
                if self.tap is not None and event is not None:
                    self.tap.take(event, batch.origin)
                touched[cache] = None
            elif change.value is None:
                self._unclaimed.pop(change.key, None)
            else:
                self._unclaimed[change.key] = Item(change.key, change.value, change.revision)
        self.revision = batch.revision
        for cache in touched:
            cache.wake()
        self._wake()

    def _read(self, change: Change) -> bytes | None:
        """The value, None for one that its backend found damaged: it begins with a zero byte, which no object does."""
        self.unreadable.pop(change.key, None)
        if change.value is None or change.value[:1] != b"\0":
            return change.value
        self._hide(change.key, change.revision)
        return None

    def _wake(self) -> None:
        if not self._waiters:
            return
        waiting = []
        for revision, waiter in self._waiters:
            if revision > self.revision and not waiter.done():
                waiting.append((revision, waiter))
            elif not waiter.done():
                waiter.set_result(None)
        self._waiters = waiting


def prefix_of(kind: Kind, namespace: str) -> str:
    """What the keys of a kind's objects begin with, in one namespace or, with an empty one, in all."""
    return kind.key(namespace, "") if namespace and kind.namespaced else kind.prefix


def _is_readable(row: StoredObject) -> bool:
    try:
        row.kind.cls.FromString(row.value)
    except DecodeError:
        return False
    return True
