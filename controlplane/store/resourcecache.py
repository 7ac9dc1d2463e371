"""All objects of one resource in memory: by key, in order of key, by index, and how they came to be so."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import islice

from controlplane.store.history import History
from controlplane.store.indexes import Index
from controlplane.store.objects import Event, StoredObject
from controlplane.store.watcher import Watcher
from pinnace.kinds import Kind, Kinds

# Above every character that a key may hold.
_END = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Narrow:
    """A condition by which objects are found: the only key that is meant, or all of the values that they have in indexes."""

    key: str = ""
    indexed: tuple[tuple[str, str], ...] = ()


ANY = Narrow()


class ResourceCache:
    def __init__(self, kinds: Kinds, kind: Kind, rows: Iterable[StoredObject], floor: int) -> None:
        """`kinds` have the indexes. `floor`: the revision that `rows` are true at."""
        self._kinds = kinds
        self.kind = kind
        self.objects = {row.key: row for row in rows}
        self.history = History(floor)
        self.watchers: set[Watcher] = set()
        self._keys = sorted(self.objects)
        self._indexes: dict[str, Index] = {}

    # Reading

    def rows(self, prefix: str) -> list[StoredObject]:
        """Under a prefix, in order of key."""
        objects = self.objects
        return [objects[key] for key in self._between(prefix, prefix)]

    def _between(self, start: str, prefix: str) -> list[str]:
        keys = self._keys
        return keys[bisect_left(keys, start) : bisect_left(keys, prefix + _END)]

    def by_index(self, name: str, value: str) -> list[StoredObject]:
        """In order of key."""
        return [self.objects[key] for key in sorted(self._index(name).keys(value))]

    def _index(self, name: str) -> Index:
        index = self._indexes.get(name)
        if index is None:
            index = self._indexes[name] = Index(self._kinds.index(self.kind, name), self.objects.values())
        return index

    def after(self, key: str, prefix: str, revision: int, narrow: Narrow = ANY) -> Iterator[StoredObject]:
        """The objects under `prefix` with keys above `key`, in order, as they were at `revision`; of those that `narrow`
        excludes, some may be among them. To be read at once: it is not valid over a change. Costs what has changed since, not
        what there is. Raises Expired."""
        changed = {name: row for name, row in self.history.before(revision).items() if name.startswith(prefix) and name > key}
        few = self._found(narrow)
        present = self.objects if few is None else few
        now = self._from(key, prefix) if few is None else sorted(n for n in few if n.startswith(prefix) and n > key)
        gone = sorted(name for name, row in changed.items() if row is not None and name not in present)
        for name in merge(now, gone):
            row = changed[name] if name in changed else self.objects[name]
            if row is not None:
                yield row

    def _found(self, narrow: Narrow) -> Collection[str] | None:
        """The keys of the present objects that may be meant; None: all."""
        if narrow.key:
            return {narrow.key} if narrow.key in self.objects else ()
        if not narrow.indexed:
            return None
        return min((self._index(name).keys(value) for name, value in narrow.indexed), key=len)

    def _from(self, key: str, prefix: str) -> Iterator[str]:
        keys = self._keys
        start = bisect_right(keys, key) if key else bisect_left(keys, prefix)
        return islice(keys, start, bisect_left(keys, prefix + _END))

    def count(self, key: str, prefix: str) -> int:
        """How many objects there are now under `prefix` with keys above `key`."""
        return bisect_left(self._keys, prefix + _END) - bisect_right(self._keys, key or prefix)

    # Following

    def rebind(self, kind: Kind) -> None:
        """The resource's objects are of `kind` from now on; events that have happened stay as they were."""
        self.kind = kind
        self.objects = {key: StoredObject(kind, key, row.value, row.revision) for key, row in self.objects.items()}

    def take(self, key: str, value: bytes | None, revision: int) -> Event | None:
        """Follow one change of the backend; None for the deletion of what was not there."""
        old = self.objects.get(key)
        new = None if value is None else StoredObject(self.kind, key, value, revision)
        if new is not None:
            self.objects[key] = new
            if old is None:
                insort(self._keys, key)
        elif old is not None:
            del self.objects[key]
            del self._keys[bisect_left(self._keys, key)]
        else:
            return None
        for index in self._indexes.values():
            index.update(key, new)
        event = Event(old, new, revision)
        self.history.append(event)
        return event

    def wake(self) -> None:
        """Tell the watchers that there are events."""
        for watcher in self.watchers:
            watcher.wake(self)
