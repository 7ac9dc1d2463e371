"""One stored object, and one change of it: what the watch cache holds and what watchers are told."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from pinnace.kinds import Kind, Reader

# Stored bytes of which parsed messages are kept, which take several times as much.
MAX_PARSED = 8 << 20


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One stored object, unparsed. Readers share it and, for a while, its parsed message."""

    kind: Kind
    key: str
    value: bytes
    revision: int
    _message: Any = field(default=None, init=False, repr=False, compare=False)
    # Of a custom kind: the reader that the object was last read with, and the bytes that readers see.
    _view: tuple[Reader, bytes] | None = field(default=None, init=False, repr=False, compare=False)

    def content(self, kind: Kind | None = None) -> bytes:
        """The bytes that readers of `kind`, by default the object's, see: the stored ones, unless they were written under
        another schema, or are read as another kind. Of a schema worked out once."""
        kind = kind or self.kind
        if kind.stored is not None:
            return kind.stored.read(kind.cls, self.value)
        schema = kind.schema
        reader = schema.reader if schema is not None else None
        if reader is None:
            return self.value
        if self._view is None or self._view[0] is not reader:
            object.__setattr__(self, "_view", (reader, reader(self.value)))
            object.__setattr__(self, "_message", None)
        assert self._view is not None
        return self._view[1]

    @property
    def outdated(self) -> bool:
        """Whether a write without a change changes the stored bytes."""
        schema = self.kind.schema
        return schema is not None and schema.upgrade is not None and schema.upgrade(self.value) is not self.value

    @property
    def message(self) -> Any:
        """The parsed object, for reading only: readers share it. To change it, use `parse`."""
        if self.kind.schema is not None:
            # Forgets a message of another schema.
            self.content()
        if self._message is None:
            _parsed.keep(self, self.parse())
        return self._message

    @property
    def message_once(self) -> Any:
        """As `message`, but nothing is kept for other readers: for one that reads each object once."""
        return self.message if self._message is not None or self.kind.schema is not None else self.parse()

    def parse(self, kind: Kind | None = None) -> Any:
        """A message of its own, with its resourceVersion filled in, as a version of the object's kind serves it."""
        message: Any = (kind or self.kind).cls.FromString(self.content(kind))
        message.metadata.resourceVersion = str(self.revision)
        return message

    def encoded(self, kind: Kind | None = None) -> bytes:
        """The same in bytes, without parsing: protobuf merges what is appended.

        metadata is field 1 and resourceVersion field 6, both length-delimited, in every kind."""
        version = str(self.revision).encode()
        return b"%s\x0a%c\x32%c%s" % (self.content(kind), len(version) + 2, len(version), version)


@dataclass(frozen=True, slots=True)
class Event:
    """One object changed: created (`old` None), deleted (`new` None) or modified."""

    old: StoredObject | None
    new: StoredObject | None
    revision: int

    @property
    def row(self) -> StoredObject:
        row = self.new or self.old
        assert row is not None
        return row


class _Parsed:
    """The objects whose messages are kept, oldest first."""

    def __init__(self) -> None:
        self._kept: deque[StoredObject] = deque()
        self._size = 0

    def keep(self, row: StoredObject, message: Any) -> None:
        object.__setattr__(row, "_message", message)
        self._kept.append(row)
        self._size += len(row.value)
        while self._size > MAX_PARSED and len(self._kept) > 1:
            oldest = self._kept.popleft()
            object.__setattr__(oldest, "_message", None)
            self._size -= len(oldest.value)


_parsed = _Parsed()
