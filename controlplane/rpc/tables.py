"""Tables and discovery as gRPC messages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from controlplane.requests import discovery, tables
from controlplane.requests.discovery import ServedGroup
from controlplane.resources import Resource
from controlplane.resources.columns import Cell
from controlplane.store import StoredObject
from pinnace.api.v1 import objects_pb2
from pinnace.apiextensions.v1.customresource_pb2 import CustomResource
from pinnace.kinds import Kind
from pinnace.meta.v1.meta_pb2 import PartialObjectMetadata

# Rows that are rendered before other requests get a turn: some milliseconds.
CHUNK = 50
_OPTIONS = objects_pb2.TableOptions


def table(
    resource: Resource, items: Iterable[Any], options: objects_pb2.TableOptions, *, now: float, header: bool = True
) -> Any:
    """Objects as a Table; `now` in seconds since the epoch."""
    made = objects_pb2.Table(rows=[_row(resource, item, options, now) for item in items])
    if header:
        made.columnDefinitions.extend(objects_pb2.TableColumnDefinition(**found) for found in tables.definitions(resource))
    return made


async def page(
    resource: Resource, rows: Sequence[StoredObject], options: objects_pb2.TableOptions, *, now: float
) -> objects_pb2.Table:
    """A page of a list as a Table, rendered in parts."""
    made = objects_pb2.Table()
    for at in range(0, max(len(rows), 1), CHUNK):
        await asyncio.sleep(0)
        part = [tables.item_of(resource, row) for row in rows[at : at + CHUNK]]
        made.MergeFrom(table(resource, part, options, now=now, header=at == 0))
    return made


def sealed(made: objects_pb2.Table) -> objects_pb2.Object:
    """A Table in place of an object."""
    return objects_pb2.Object(apiVersion=tables.API_VERSION, kind=tables.TABLE, table=made)


def _row(resource: Resource, item: Any, options: objects_pb2.TableOptions, now: float) -> objects_pb2.TableRow:
    cells = map(_cell, tables.cells(resource, item, now))
    return objects_pb2.TableRow(cells=cells, object=_carried(resource.kind, item, options.includeObject))


def _cell(value: Cell) -> objects_pb2.TableCell:
    match value:
        case str():
            return objects_pb2.TableCell(text=value)
        case bool():
            return objects_pb2.TableCell(boolean=value)
        case int():
            return objects_pb2.TableCell(integer=value)
        case float():
            return objects_pb2.TableCell(number=value)
    return objects_pb2.TableCell()


def _carried(kind: Kind, item: Any, include: int) -> objects_pb2.Object | None:
    if include == _OPTIONS.NONE:
        return None
    if include == _OPTIONS.OBJECT:
        return objects_pb2.Object(apiVersion=kind.api_version, kind=kind.kind, protobuf=item.SerializeToString())
    partial = PartialObjectMetadata(metadata=item.metadata)
    return objects_pb2.Object(apiVersion=tables.API_VERSION, kind=tables.PARTIAL, protobuf=partial.SerializeToString())


def discovered(groups: Iterable[ServedGroup]) -> objects_pb2.DiscoverResponse:
    """All that is served, in the order of `discovery.groups`."""
    found = (item for group in groups for version in group.versions for item in version.resources)
    return objects_pb2.DiscoverResponse(resources=map(_served, found))


def _served(item: discovery.ServedResource) -> objects_pb2.ServedResource:
    kind = item.kind
    return objects_pb2.ServedResource(
        apiVersion=kind.api_version, kind=kind.kind, plural=kind.plural, singular=kind.singular, shortNames=kind.short_names,
        categories=item.categories, namespaced=kind.namespaced, verbs=item.verbs, custom=kind.cls is CustomResource,
        subresources=map(_part, item.subresources),
    )  # fmt: skip


def _part(item: discovery.ServedSubresource) -> objects_pb2.ServedSubresource:
    return objects_pb2.ServedSubresource(
        name=item.name, apiVersion=item.kind.api_version, kind=item.listed_kind, verbs=item.verbs
    )
