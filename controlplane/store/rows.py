"""One stored object, and one change of it: what the mirror holds and what watchers are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controlplane.store.backend import Item
from pinnace import kinds
from pinnace.kinds import Kind


@dataclass(frozen=True, slots=True)
class Row:
    """One stored object, unparsed."""

    kind: Kind
    key: str
    value: bytes
    revision: int

    def parse(self) -> Any:
        """A message of its own, with its resourceVersion filled in."""
        message: Any = self.kind.cls.FromString(self.value)
        message.metadata.resourceVersion = str(self.revision)
        return message

    def sealed(self) -> bytes:
        """The stored bytes with the resourceVersion, without parsing: protobuf merges what is appended.

        metadata is field 1 and resourceVersion field 6, both length-delimited, in every kind."""
        version = str(self.revision).encode()
        return b"%s\x0a%c\x32%c%s" % (self.value, len(version) + 2, len(version), version)


@dataclass(frozen=True, slots=True)
class Event:
    """One object changed: created (`old` None), deleted (`new` None) or modified."""

    old: Row | None
    new: Row | None
    revision: int

    @property
    def row(self) -> Row:
        row = self.new or self.old
        assert row is not None
        return row


def row_of(item: Item) -> Row | None:
    """None for what is no object: ticks, say."""
    kind = kind_of(item.key)
    return Row(kind, item.key, item.value, item.revision) if kind else None


_BY_PREFIX = {kind.prefix: kind for kind in kinds.ALL}


def kind_of(key: str) -> Kind | None:
    """The kind of the object at a key."""
    parts = key.split("/", 4)
    # "", "registry", plural | group, ...: a group always has a dot, a plural never.
    depth = 4 if len(parts) > 3 and "." in parts[2] else 3
    return _BY_PREFIX.get("/".join(parts[:depth]) + "/")
