"""Columns of a resource's table: what they are called, and their cells for one object.

A kind's file defines its own, after Kubernetes' printers (pkg/printers/internalversion/printers.go). Cells are computed when a
table is rendered, since an age changes while its object does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

from pinnace import codec, humantime

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")

# Null where an object has no value for a column. An int fits into 64 bits.
Cell = str | int | float | bool | None
NONE = "<none>"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: an OpenAPI type and format; `priority` above 0 is shown by `-o wide` alone."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


@dataclass(frozen=True)
class Columns(Generic[T]):
    """The columns of a kind, and the cells of one object in their order, given the time in seconds since the epoch."""

    definitions: tuple[Column, ...]
    cells: Callable[[T, float], Sequence[Cell]]


NAME = Column("Name", format="name", description="Name of the object, unique for its kind in its namespace.")
AGE = Column("Age", description="Time since the object was created.")


def age(item: Any, now: float) -> str:
    """Time since an object was created."""
    return humantime.since(item.metadata.creationTimestamp.seconds, now)


def wide(name: str, description: str, *, format: str = "") -> Column:
    """A column of `-o wide`."""
    return Column(name, format=format, description=description, priority=1)


def labels_text(labels: Any) -> str:
    """`a=1,b=2`, sorted."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or NONE


# Of kinds that define none.
NAME_AND_AGE: Columns[Any] = Columns((NAME, AGE), lambda item, now: (item.metadata.name, age(item, now)))
# Of kinds for which Kubernetes has no printer.
NAME_AND_CREATION: Columns[Any] = Columns(
    (NAME, Column("Created At", "date", description="When the object was created.")),
    lambda item, now: (item.metadata.name, codec.format_time(item.metadata.creationTimestamp.seconds)),
)
