"""A transaction: what a function reads and writes, so that the store can commit it only if what it read still holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar, cast

from controlplane.store.backend import Committed, Limits, Txn, Write
from controlplane.store.objects import StoredObject
from controlplane.store.origin import Origin
from controlplane.store.watchcache import WatchCache
from pinnace.errors import AlreadyExists, NotFound
from pinnace.kinds import Kind, Kinds
from pinnace.messages import clone

T = TypeVar("T")


class Tx:
    """A transaction: reads the watch cache under its own writes, and remembers what it read."""

    def __init__(self, cache: WatchCache, limits: Limits) -> None:
        self._cache = cache
        self._limits = limits
        # Bytes of the messages that were written, but for those of which `full` has not asked yet.
        self._size = 0
        self._unmeasured: list[Any] = []
        self.base = cache.revision
        self._reads: dict[str, int] = {}
        self._ranges: dict[str, int] = {}
        self._writes: dict[str, tuple[Kind, Any]] = {}
        # Deleted and then created again: another object under the same key.
        self._replaced: set[str] = set()

    @property
    def kinds(self) -> Kinds:
        """The kinds that are served now."""
        return self._cache.kinds

    def get(self, kind: Kind[T], namespace: str, name: str) -> T | None:
        """The object, the caller's own to change, or None."""
        key = kind.key(namespace, name)
        if key in self._writes:
            of, message = self._writes[key]
            return None if message is None else cast("T", _copy(kind, of, message))
        row = self._cache.row(kind, key)
        self._reads[key] = row.revision if row else self._cache.unreadable.get(key, 0)
        return cast("T", row.parse(kind)) if row else None

    def is_outdated(self, kind: Kind, namespace: str, name: str) -> bool:
        """Whether the stored form of an object is of an earlier schema, so that a write without a change is one."""
        row = self._cache.row(kind, kind.key(namespace, name)) if kind.schema is not None else None
        return row is not None and row.outdated

    def require(self, kind: Kind[T], namespace: str, name: str) -> T:
        """Like get. Raises NotFound."""
        message = self.get(kind, namespace, name)
        if message is None:
            raise NotFound.of(kind.resource, name)
        return message

    def list(self, kind: Kind[T], namespace: str = "") -> list[T]:
        """All objects of a kind, of one namespace or of all. A later change to any of them is a conflict."""
        prefix = kind.key(namespace, "") if namespace and kind.namespaced else kind.prefix
        self._ranges.setdefault(prefix, self.base)
        found = {row.key: row.parse(kind) for row in self._cache.rows(kind, namespace)}
        for key, (of, message) in self._writes.items():
            if key.startswith(prefix):
                found.pop(key, None)
                if message is not None:
                    found[key] = cast("T", _copy(kind, of, message))
        return [found[key] for key in sorted(found)]

    def get_untracked(self, kind: Kind, namespace: str, name: str) -> StoredObject | None:
        """The stored object, without adding to the read set: as list_untracked."""
        return self._cache.row(kind, kind.key(namespace, name))

    def list_untracked(self, kind: Kind, namespace: str = "") -> Iterable[StoredObject]:
        """List without adding to the read set (no conflict on later changes); only for re-evaluated decisions."""
        return self._cache.rows(kind, namespace)

    def by_index(self, kind: Kind, index: str, value: str) -> Iterable[StoredObject]:
        """Like list_untracked: the objects whose index has this value (see Store.rows_by)."""
        return self._cache.rows_by(kind, index, value)

    def create(self, kind: Kind, message: Any) -> None:
        """Raises AlreadyExists."""
        if self.get(kind, message.metadata.namespace, message.metadata.name) is not None:
            raise AlreadyExists.of(kind.resource, message.metadata.name)
        self.put(kind, message)

    def put(self, kind: Kind, message: Any) -> None:
        """Write the object. After the commit its resourceVersion is the new one."""
        key = kind.key(message.metadata.namespace, message.metadata.name)
        if key in self._writes and self._writes[key][1] is None:
            self._replaced.add(key)
        self._writes[key] = (kind, message)
        self._unmeasured.append(message)

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Deleting what is absent writes nothing, and is no error."""
        key = kind.key(namespace, name)
        row = self._cache.row(kind, key)
        # An object that cannot be read can be deleted.
        revision = self._reads[key] = row.revision if row else self._cache.unreadable.get(key, 0)
        if revision:
            self._writes[key] = (kind, None)
        else:
            self._writes.pop(key, None)
        self._replaced.discard(key)

    def txn(self, origin: Origin | None = None) -> Txn:
        writes: list[Write] = []
        for key, (kind, message) in self._writes.items():
            if key in self._replaced:
                writes.append(Write(key, None))
            writes.append(Write(key, _stored(kind, message)))
        return Txn(tuple(writes), self._reads, self._ranges, origin)

    def stamp(self, txn: Txn, committed: Committed) -> None:
        """Fill in the resourceVersion of each object written by `txn`, which is this transaction's."""
        for write, revision in zip(txn.writes, committed.revisions, strict=True):
            if write.value is not None:
                self._writes[write.key][1].metadata.resourceVersion = str(revision)

    @property
    def full(self) -> bool:
        """Whether half of what one transaction takes is used: leave the rest to another one."""
        self._size += sum(message.ByteSize() for message in self._unmeasured)
        self._unmeasured.clear()
        operations = max(len(self._writes), len(self._reads) + bool(self._ranges))
        return operations * 2 >= self._limits.operations or self._size * 2 >= self._limits.size

    @property
    def wrote(self) -> bool:
        return bool(self._writes)


def _copy(kind: Kind, of: Kind, message: Any) -> Any:
    """What was written as an object of one kind, as another one that is stored alike."""
    if kind.stored is of.stored:
        return clone(message)
    value = message.SerializeToString() if of.stored is None else of.stored.write(message)
    cls: Any = kind.cls
    return cls.FromString(value if kind.stored is None else kind.stored.read(cls, value))


def _stored(kind: Kind, message: Any) -> bytes | None:
    if message is None:
        return None
    message.metadata.ClearField("resourceVersion")
    if kind.stored is not None:
        return kind.stored.write(message)
    value: bytes = message.SerializeToString(deterministic=True)
    return value
