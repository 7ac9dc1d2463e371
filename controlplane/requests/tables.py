"""Objects as rows of a table, or as their metadata alone: what clients show to people without knowing the kind.

Pure functions to JSON data. gRPC and REST put it into their own messages.
Source: meta.k8s.io/v1 Table and PartialObjectMetadata; apiserver's endpoints/handlers/response.go.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any, TypeVar

from controlplane.resources.columns import Cell
from controlplane.resources.resource import Resource
from controlplane.store import StoredObject
from pinnace import codec
from pinnace.kinds import Kind

T = TypeVar("T")
API_VERSION = "meta.k8s.io/v1"
TABLE, PARTIAL, PARTIAL_LIST = "Table", "PartialObjectMetadata", "PartialObjectMetadataList"


class Include(enum.Enum):
    """How much of its object a row carries."""

    NONE = "None"
    METADATA = "Metadata"
    OBJECT = "Object"


def definitions(resource: Resource[T]) -> list[dict[str, Any]]:
    """The columnDefinitions of a resource's tables."""
    return [
        {
            "name": column.name, "type": column.type, "format": column.format, "description": column.description,
            "priority": column.priority,
        }
        for column in resource.columns.definitions
    ]  # fmt: skip


def cells(resource: Resource[T], item: T, now: float) -> tuple[Cell, ...]:
    """One object's cells, one for each column; `now` in seconds since the epoch."""
    return tuple(resource.columns.cells(item, now))


def item_of(resource: Resource[T], stored: StoredObject) -> T:
    """A stored object as the resource's version serves it, for reading only."""
    found: T = stored.message if stored.kind is resource.kind else stored.parse(resource.kind)
    return found


def row(resource: Resource[T], item: T, *, now: float, include: Include = Include.METADATA) -> dict[str, Any]:
    """One object as a row."""
    made: dict[str, Any] = {"cells": list(cells(resource, item, now))}
    if include is not Include.NONE:
        made["object"] = partial(item) if include is Include.METADATA else whole(resource.kind, item)
    return made


def table(
    resource: Resource[T], items: Iterable[T], *, now: float, include: Include = Include.METADATA,
    metadata: dict[str, Any] | None = None, header: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Objects as a Table. `metadata` is that of the list, or of the one object: its resourceVersion, and where a list
    continues. Without `header` it has no columnDefinitions, as in all events of a watch but the first."""
    return {
        "kind": TABLE,
        "apiVersion": API_VERSION,
        "metadata": metadata or {},
        "columnDefinitions": definitions(resource) if header else None,
        "rows": [row(resource, item, now=now, include=include) for item in items],
    }


def partial(item: Any) -> dict[str, Any]:
    """The metadata of an object as a PartialObjectMetadata."""
    return {"kind": PARTIAL, "apiVersion": API_VERSION, "metadata": codec.encode(item.metadata)}


def partial_list(items: Iterable[Any], metadata: dict[str, Any]) -> dict[str, Any]:
    """The metadata of objects as a PartialObjectMetadataList; `metadata` is that of the list."""
    return {"kind": PARTIAL_LIST, "apiVersion": API_VERSION, "metadata": metadata, "items": [partial(item) for item in items]}


def whole(kind: Kind[T], item: T) -> dict[str, Any]:
    """An object with its kind."""
    message: Any = item
    return {"kind": kind.kind, "apiVersion": kind.api_version, **codec.encode(message)}
