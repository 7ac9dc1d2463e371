"""Kinds whose objects are stored as those of another kind: one object under two groups, or in two versions.

The stored kind is the one that controllers, indexes and the store's keys know. A conversion loses nothing.
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
    """`kind` is what objects are stored as."""

    kind: Kind

    def read(self, cls: type[Any], stored: bytes) -> bytes:
        """Stored bytes as those of a message of `cls`."""
        target = cls()
        self._to_own(self.kind.cls.FromString(stored), target)
        value: bytes = target.SerializeToString(deterministic=True)
        return value

    def write(self, message: Any) -> bytes:
        """A message of the other kind as it is stored."""
        value: bytes = self.message(message).SerializeToString(deterministic=True)
        return value

    def message(self, message: Any) -> Any:
        """A message of the other kind in the stored form."""
        target = self.kind.cls()
        self._to_stored(message, target)
        return target

    def _to_own(self, stored: Any, target: Any) -> None:
        raise NotImplementedError

    def _to_stored(self, message: Any, target: Any) -> None:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class RenamedForm(StoredForm):
    """A conversion that renames fields of the object itself, never below them: both messages have the same fields. `renamed`
    are those that have another name in the stored form, by their own name."""

    renamed: Mapping[str, str]

    def _to_own(self, stored: Any, target: Any) -> None:
        names = {there: own for own, there in self.renamed.items()}
        _copy(stored, target, lambda name: names.get(name, name))

    def _to_stored(self, message: Any, target: Any) -> None:
        _copy(message, target, lambda name: self.renamed.get(name, name))


@dataclass(frozen=True, eq=False)
class ConvertedForm(StoredForm):
    """A conversion by functions, which fill their second argument. Pure but for that."""

    to_own: Callable[[Any, Any], None]
    to_stored: Callable[[Any, Any], None]

    def _to_own(self, stored: Any, target: Any) -> None:
        self.to_own(stored, target)

    def _to_stored(self, message: Any, target: Any) -> None:
        self.to_stored(message, target)


def _copy(source: Message, target: Message, name: Callable[[str], str]) -> None:
    for field, value in source.ListFields():
        if field.message_type is None:
            setattr(target, name(field.name), value)
        else:
            # Of the same form, but not always of the same type.
            getattr(target, name(field.name)).MergeFromString(value.SerializeToString(deterministic=True))
            getattr(target, name(field.name)).SetInParent()
