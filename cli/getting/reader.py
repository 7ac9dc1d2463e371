"""The interface of the two forms of output of `kctl get`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

from cli import output, tables
from pinnace import kinds
from pinnace.kinds import Kind

T = TypeVar("T")


class Target(NamedTuple):
    """An object, or with an empty name all of a kind; an empty namespace is all of them."""

    kind: Kind
    name: str
    namespace: str


class Reader(Protocol[T]):
    """Reads objects of any number of targets, then prints them; or follows one target."""

    client: Any

    def read(self, target: Target) -> None:
        """Raises NotFound."""

    def print(self, targets: list[Target]) -> bool:
        """What was read; whether that is anything, or is printed in any case."""

    def ordered(self, kind: Kind, items: list[T]) -> list[T]:
        """By --sort-by, or as the kind is shown. Raises BadRequest."""

    def watch(self, target: Target) -> Iterator[tuple[str, list[T]]]:
        """Events with what they bring, the present objects and a BOOKMARK first. Raises Expired."""

    def print_changes(self, target: Target, items: list[T], *, deleted: bool = False) -> None:
        """What a watch brought, the header once."""


def ordered_objects(kind: Kind, items: list[T], path: str, item_of: Any) -> list[T]:
    """By a field of the objects that `item_of` finds; events in the order in which they happened.

    Raises BadRequest for a path that no object has."""
    if path:
        from cli import sorting

        return sorting.by_path(items, path, lambda item: output.document(kind, item_of(item)))
    return sorted(items, key=lambda item: tables.event_order(item_of(item))) if kind is kinds.EVENT else items
