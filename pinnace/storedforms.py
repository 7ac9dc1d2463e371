"""Kinds whose objects are stored as those of another kind: one object, under two groups and with other names of fields.

The stored kind is the one that controllers, indexes and the store's keys know. A conversion renames fields of the object
itself, never below them, and loses nothing: both messages have the same fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

if TYPE_CHECKING:
    from pinnace.kinds import Kind


@dataclass(frozen=True, eq=False)
class StoredForm:
    """`kind` is what objects are stored as; `renamed` are the fields that have another name there, by their own name."""

    kind: Kind
    renamed: Mapping[str, str]

    def read(self, cls: type[Any], stored: bytes) -> bytes:
        """Stored bytes as those of a message of `cls`."""
        return _converted(self.kind.cls.FromString(stored), cls(), self._own)

    def write(self, message: Any) -> bytes:
        """A message of the other kind as it is stored."""
        return _converted(message, self.kind.cls(), self._stored)

    def message(self, message: Any) -> Any:
        """A message of the other kind in the stored form."""
        return self.kind.cls.FromString(self.write(message))

    def _stored(self, name: str) -> str:
        return self.renamed.get(name, name)

    def _own(self, name: str) -> str:
        return next((own for own, stored in self.renamed.items() if stored == name), name)


def _converted(source: Message, target: Message, name: Callable[[str], str]) -> bytes:
    for field, value in source.ListFields():
        if field.message_type is None:
            setattr(target, name(field.name), value)
        else:
            # Of the same form, but not always of the same type.
            getattr(target, name(field.name)).MergeFromString(value.SerializeToString(deterministic=True))
            getattr(target, name(field.name)).SetInParent()
    return target.SerializeToString(deterministic=True)
