"""Lists and watches as gRPC messages of bounded size."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any

from controlplane.requests import watching
from controlplane.requests.selection import Selection
from controlplane.requests.tables import item_of
from controlplane.requests.unsent import Unsent
from controlplane.requests.watching import Change, Type
from controlplane.resources import Resource
from controlplane.rpc import tables
from controlplane.store import Store, StoredObject
from pinnace.api.v1 import objects_pb2
from pinnace.clock import Clock
from pinnace.kinds import Kind

# Objects, and their bytes, in one message of a watch, so that no message nears gRPC's 4 MiB.
WATCH_BATCH, WATCH_SIZE = 100, 1 << 20
# Fills an empty part of a message: objects are large, and are copied when their message becomes part of another one.
Render = Callable[[StoredObject, objects_pb2.Object], None]


def fill(kind: Kind, row: StoredObject, target: objects_pb2.Object) -> None:
    target.apiVersion, target.kind, target.protobuf = kind.api_version, kind.kind, row.encoded(kind)


def selection(resource: Resource, request: Any) -> Selection:
    """The objects that a ListRequest or a WatchRequest means. Raises BadRequest."""
    ref = request.ref
    return Selection(
        resource, namespace=ref.namespace, name=ref.name, labels=request.labelSelector, fields=request.fieldSelector
    )


async def watch(
    store: Store,
    selected: Selection,
    revision: str,
    *,
    render: Render,
    unsent: Unsent,
    end: Callable[[], object],
    user: str | None = None,
) -> AsyncGenerator[objects_pb2.WatchResponse, None]:
    """`watching.watch` in messages, with each object as `render` makes it; `unsent` may `end` a watcher that does not read.
    Raises Expired, Invalid."""
    async with aclosing(unsent.bounded(watching.watch(store, selected, revision), end, user=user)) as batches:
        async for batch in batches:
            for response in _split(batch, render):
                yield response


def rendering(resource: Resource, request: objects_pb2.WatchRequest, clock: Clock) -> Render:
    """How one watch shows its objects: as they are, or as tables of one row, of which the first alone has the columns."""
    if not request.HasField("table"):
        return partial(fill, resource.kind)
    header = True

    def render(row: StoredObject, target: objects_pb2.Object) -> None:
        nonlocal header
        made = tables.table(resource, [item_of(resource, row)], request.table, now=clock.now(), header=header)
        header = False
        target.CopyFrom(tables.sealed(made))

    return render


def _split(changes: Iterable[Change], render: Render) -> Iterator[objects_pb2.WatchResponse]:
    """Messages of these changes. While one is sent nothing here refers to it or to a part of it."""
    made = objects_pb2.WatchResponse()
    size = 0
    for change in changes:
        type_ = Type.BOOKMARK if change.type is Type.SYNCED else change.type
        event = made.events.add(type=type_.value, resourceVersion=str(change.revision))
        if change.row is not None:
            render(change.row, event.object)
        size += event.ByteSize()
        del event
        if len(made.events) == WATCH_BATCH or size >= WATCH_SIZE:
            full, made, size = [made], objects_pb2.WatchResponse(), 0
            yield full.pop()
    if made.events:
        yield made
