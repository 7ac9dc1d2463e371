"""A transaction: what a function reads and writes, so that the store can commit it only if what it read still holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.message import Message

from controlplane.store.backend import Txn, Write
from controlplane.store.mirror import Mirror
from controlplane.store.rows import Row
from pinnace.errors import AlreadyExists, NotFound
from pinnace.kinds import Kind


class Tx:
    """A transaction: reads the mirror under its own writes, and remembers what it read."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self.base = mirror.revision
        self._reads: dict[str, int] = {}
        self._ranges: dict[str, int] = {}
        self._writes: dict[str, tuple[Kind, Any]] = {}

    def get(self, kind: Kind, namespace: str, name: str) -> Any | None:
        """The object, the caller's own to change, or None."""
        key = kind.key(namespace, name)
        if key in self._writes:
            message = self._writes[key][1]
            return None if message is None else _copy(message)
        row = self._mirror.row(kind, key)
        self._reads[key] = row.revision if row else 0
        return row.parse() if row else None

    def require(self, kind: Kind, namespace: str, name: str) -> Any:
        """Like get. Raises NotFound."""
        message = self.get(kind, namespace, name)
        if message is None:
            raise NotFound.of(kind.resource, name)
        return message

    def list(self, kind: Kind, namespace: str = "") -> list[Any]:
        """All objects of a kind, of one namespace or of all. A later change to any of them is a conflict."""
        prefix = kind.key(namespace, "") if namespace and kind.namespaced else kind.prefix
        self._ranges.setdefault(prefix, self.base)
        found = {row.key: row.parse() for row in self._mirror.rows(kind, namespace)}
        for key, (_, message) in self._writes.items():
            if key.startswith(prefix):
                found.pop(key, None)
                if message is not None:
                    found[key] = _copy(message)
        return [found[key] for key in sorted(found)]

    def peek(self, kind: Kind, namespace: str = "") -> Iterable[Row]:
        """Rows read without a claim that they stay: for decisions that someone will make again."""
        return self._mirror.rows(kind, namespace)

    def create(self, kind: Kind, message: Any) -> None:
        """Raises AlreadyExists."""
        if self.get(kind, message.metadata.namespace, message.metadata.name) is not None:
            raise AlreadyExists.of(kind.resource, message.metadata.name)
        self.put(kind, message)

    def put(self, kind: Kind, message: Any) -> None:
        """Write the object. After the commit its resourceVersion is the new one."""
        self._writes[kind.key(message.metadata.namespace, message.metadata.name)] = (kind, message)

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Deleting what is absent writes nothing, and is no error."""
        key = kind.key(namespace, name)
        row = self._mirror.row(kind, key)
        self._reads[key] = row.revision if row else 0
        if row is None:
            self._writes.pop(key, None)
        else:
            self._writes[key] = (kind, None)

    def txn(self) -> Txn:
        writes = tuple(Write(key, _stored(message)) for key, (_, message) in self._writes.items())
        return Txn(writes, self._reads, self._ranges)

    def stamp(self, revision: int) -> None:
        for _, message in self._writes.values():
            if message is not None:
                message.metadata.resourceVersion = str(revision)

    @property
    def wrote(self) -> bool:
        return bool(self._writes)


def _copy(message: Message) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _stored(message: Any) -> bytes | None:
    if message is None:
        return None
    message.metadata.ClearField("resourceVersion")
    value: bytes = message.SerializeToString(deterministic=True)
    return value
