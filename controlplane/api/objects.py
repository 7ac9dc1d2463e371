"""The Objects service: RPC shells that open a transaction, call a verb, and seal the answer."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.message import DecodeError

from controlplane.api import verbs
from controlplane.api.patch import patched
from controlplane.store import Event, Row, Store, Tx
from pinnace import codec, kinds, selectors, wire
from pinnace.api.v1 import objects_pb2, objects_pb2_grpc
from pinnace.clock import Clock, Ids
from pinnace.errors import ApiError, BadRequest, Expired, Invalid
from pinnace.kinds import Kind

Selector = Callable[[Any], bool]
# Listings kept for their next page; the oldest is forgotten, and its token answers Expired.
MAX_PAGED = 64
MAX_APPLY = 1_000
# Objects in one message of a watch, so that no message nears gRPC's 4 MiB.
WATCH_BATCH = 100
_EVENT = objects_pb2.WatchEvent


def seal(kind: Kind, row: Row) -> objects_pb2.Object:
    return objects_pb2.Object(apiVersion=kind.api_version, kind=kind.kind, protobuf=row.sealed())


def seal_message(kind: Kind, message: Any) -> objects_pb2.Object:
    return objects_pb2.Object(apiVersion=kind.api_version, kind=kind.kind, protobuf=message.SerializeToString())


class Objects(objects_pb2_grpc.ObjectsServicer):
    def __init__(self, store: Store, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._pages: OrderedDict[str, tuple[list[Row], int]] = OrderedDict()

    def _call(self, manager: str) -> verbs.Call:
        if len(manager) > 128 or not manager.isprintable():
            raise BadRequest("fieldManager must be printable and at most 128 characters")
        return verbs.Call(self._clock.now(), self._ids, manager or "unknown")

    async def _update(self, fn: Callable[[Tx], Any], *, dry_run: bool) -> Any:
        if not dry_run:
            return await self._store.update(fn)
        return self._store.view(fn)

    async def Get(self, request: objects_pb2.GetRequest, context: Any) -> objects_pb2.Object:
        kind, ref = _kind(request.ref), request.ref
        await self._store.sync()
        found = self._store.view(lambda tx: verbs.find(tx, kind, ref.namespace, ref.name))
        return seal_message(kind, found)

    async def List(self, request: objects_pb2.ListRequest, context: Any) -> objects_pb2.ListResponse:
        kind = _kind(request.ref)
        if request.continueToken:
            rows, revision = self._resume(kind, request.continueToken)
        else:
            await self._store.sync()
            rows, revision = self._select(kind, request), self._store.revision
        response = objects_pb2.ListResponse(resourceVersion=str(revision))
        limit = request.limit if request.limit > 0 else len(rows)
        response.items.extend(seal(kind, row) for row in rows[:limit])
        if rows[limit:]:
            response.continueToken = self._remember(rows[limit:], revision)
            response.remainingItemCount = len(rows) - limit
        return response

    def _select(self, kind: Kind, request: Any) -> list[Row]:
        rows = sorted(self._store.rows(kind, request.ref.namespace), key=lambda row: row.key)
        if request.ref.name:
            rows = [row for row in rows if row.key == kind.key(request.ref.namespace, request.ref.name)]
        selects = _selector(kind, request.labelSelector, request.fieldSelector)
        return rows if selects is None else [row for row in rows if selects(row.parse())]

    def _remember(self, rows: list[Row], revision: int) -> str:
        token = self._ids.uid()
        self._pages[token] = (rows, revision)
        while len(self._pages) > MAX_PAGED:
            self._pages.popitem(last=False)
        return token

    def _resume(self, kind: Kind, token: str) -> tuple[list[Row], int]:
        if token not in self._pages:
            raise Expired("the continue token is too old: list again")
        if self._pages[token][0][0].kind is not kind:
            raise BadRequest("the continue token is of a list of another kind")
        return self._pages.pop(token)

    async def Watch(self, request: objects_pb2.WatchRequest, context: Any) -> AsyncIterator[objects_pb2.WatchResponse]:
        kind = _kind(request.ref)
        matches = _matcher(kind, request)
        if request.resourceVersion:
            after = _revision(request.resourceVersion)
            subscription, first = self._store.watch_from(kind, after), []
        else:
            await self._store.sync()
            rows, subscription = self._store.view_and_watch(kind)
            first = [_event(_EVENT.ADDED, kind, row) for row in sorted(rows, key=lambda r: r.key) if matches(row)]
            first.append(_EVENT(type=_EVENT.BOOKMARK, resourceVersion=str(subscription.revision)))
        # Also a watcher that leaves before it has read the state gives its subscription back.
        try:
            for response in _batched(first):
                yield response
            async for events in subscription:
                for response in _batched([e for event in events if (e := _translate(kind, event, matches))]):
                    yield response
        finally:
            subscription.close()

    async def Create(self, request: objects_pb2.WriteRequest, context: Any) -> objects_pb2.Object:
        kind, message = _open(request)
        call = self._call(request.fieldManager)

        def fn(tx: Tx) -> Any:
            return verbs.create(tx, kind, _clone(message), call)

        return seal_message(kind, await self._update(fn, dry_run=request.dryRun))

    async def Update(self, request: objects_pb2.WriteRequest, context: Any) -> objects_pb2.Object:
        kind, message = _open(request)
        call = self._call(request.fieldManager)
        fn = lambda tx: verbs.update(tx, kind, _clone(message), call)  # noqa: E731
        return seal_message(kind, await self._update(fn, dry_run=request.dryRun))

    async def UpdateStatus(self, request: objects_pb2.WriteRequest, context: Any) -> objects_pb2.Object:
        kind, message = _open(request, status=True)
        call = self._call(request.fieldManager)
        fn = lambda tx: verbs.update_status(tx, kind, _clone(message), call)  # noqa: E731
        return seal_message(kind, await self._update(fn, dry_run=request.dryRun))

    async def Patch(self, request: objects_pb2.PatchRequest, context: Any) -> objects_pb2.Object:
        kind, ref = _kind(request.ref), request.ref
        call = self._call(request.fieldManager)
        if request.subresource not in ("", "status"):
            raise BadRequest(f'no subresource "{request.subresource[:80]}" can be patched')
        verb = verbs.update_status if request.subresource else verbs.update

        def fn(tx: Tx) -> Any:
            old = verbs.find(tx, kind, ref.namespace, ref.name)
            return verb(tx, kind, patched(kind, old, request.type, request.patch), call)

        return seal_message(kind, await self._update(fn, dry_run=request.dryRun))

    async def Apply(self, request: objects_pb2.ApplyRequest, context: Any) -> objects_pb2.ApplyResponse:
        if len(request.objects) > MAX_APPLY:
            raise BadRequest(f"at most {MAX_APPLY} objects in one Apply")
        call = self._call(request.fieldManager)
        response = objects_pb2.ApplyResponse()
        # In order: a namespace first makes the objects in it possible.
        for item in request.objects:
            response.results.append(await self._apply_one(item, request, call))
        return response

    async def _apply_one(self, item: objects_pb2.Object, request: Any, call: verbs.Call) -> objects_pb2.ApplyResult:
        result = objects_pb2.ApplyResult
        try:
            kind = kinds.find(item.apiVersion, item.kind)
            manifest = _manifest(kind, item, request.namespace)
            fn = lambda tx: verbs.apply(tx, kind, manifest, call, force=request.force)  # noqa: E731
            outcome, stored = await self._update(fn, dry_run=request.dryRun)
            return result(outcome=outcome.upper(), object=seal_message(kind, stored))
        except codec.FieldError as error:
            return result(outcome=result.FAILED, error=wire.to_status(error.invalid(item.kind)))
        except ApiError as error:
            return result(outcome=result.FAILED, error=wire.to_status(error))

    async def Delete(self, request: objects_pb2.DeleteRequest, context: Any) -> objects_pb2.DeleteResponse:
        kind, ref = _kind(request.ref), request.ref
        if request.propagationPolicy not in ("", "Background", verbs.FOREGROUND, verbs.ORPHAN):
            raise BadRequest(
                f'propagationPolicy "{request.propagationPolicy[:80]}" is not one of Background, Foreground, Orphan'
            )
        grace = request.gracePeriodSeconds if request.HasField("gracePeriodSeconds") else None
        call = self._call("")

        def fn(tx: Tx) -> tuple[Any, bool]:
            return verbs.delete(
                tx, kind, ref.namespace, ref.name, call, grace=grace, uid=request.uid,
                version=request.resourceVersion, propagation=request.propagationPolicy,
            )  # fmt: skip

        message, gone = await self._update(fn, dry_run=request.dryRun)
        return objects_pb2.DeleteResponse(object=seal_message(kind, message), gone=gone)


def _kind(ref: objects_pb2.Reference) -> Kind:
    return kinds.find(ref.apiVersion, ref.kind)


def _clone(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _open(request: objects_pb2.WriteRequest, *, status: bool = False) -> tuple[Kind, Any]:
    """The object of a write, with or without the status of its JSON. Raises Invalid and BadRequest."""
    kind = kinds.find(request.object.apiVersion, request.object.kind)
    if request.object.WhichOneof("body") == "json":
        try:
            return kind, codec.decode(kind.cls, _manifest(kind, request.object, request.namespace, status=status))
        except codec.FieldError as error:
            raise error.invalid(kind.kind) from None
    try:
        message: Any = kind.cls.FromString(request.object.protobuf)
    except DecodeError:
        raise BadRequest(f"the body is not a {kind.kind} in protobuf") from None
    if kind.namespaced and not message.metadata.namespace:
        message.metadata.namespace = request.namespace or "default"
    return kind, message


def _manifest(kind: Kind, item: objects_pb2.Object, namespace: str, *, status: bool = False) -> dict[str, Any]:
    """The JSON of a sealed object, its namespace filled in; its status only when asked for. Raises BadRequest, Invalid."""
    try:
        value = json.loads(item.json)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise codec.FieldError(f"expected an object, got {codec.describe(value)}").invalid(kind.kind)
    meta = value.get("metadata")
    dropped = ("apiVersion", "kind") if status else ("apiVersion", "kind", "status")
    value = {key: entry for key, entry in value.items() if key not in dropped}
    if isinstance(meta, dict) and kind.namespaced and not meta.get("namespace"):
        value["metadata"] = {**meta, "namespace": namespace or "default"}
    elif isinstance(meta, dict) and not kind.namespaced:
        value["metadata"] = {key: entry for key, entry in meta.items() if key != "namespace"}
    return value


def _selector(kind: Kind, labels: str, fields: str) -> Selector | None:
    if not labels and not fields:
        return None
    requirements = selectors.parse_labels(labels)
    tests = selectors.parse_fields(kind.kind, fields)
    return lambda message: selectors.matches_labels(requirements, message.metadata.labels) and tests(message)


def _matcher(kind: Kind, request: Any) -> Callable[[Row | None], bool]:
    prefix = kind.key(request.ref.namespace, "") if request.ref.namespace and kind.namespaced else kind.prefix
    if request.ref.name:
        prefix = kind.key(request.ref.namespace, request.ref.name)
    selects = _selector(kind, request.labelSelector, request.fieldSelector)

    def matches(row: Row | None) -> bool:
        if row is None or not (row.key == prefix if request.ref.name else row.key.startswith(prefix)):
            return False
        return selects is None or selects(row.parse())

    return matches


def _revision(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Invalid(f'resourceVersion "{text[:40]}" is not a number')
    return int(text)


def _event(type_: Any, kind: Kind, row: Row, revision: int = 0) -> objects_pb2.WatchEvent:
    return _EVENT(type=type_, object=seal(kind, row), resourceVersion=str(revision or row.revision))


def _translate(kind: Kind, event: Event, matches: Callable[[Row | None], bool]) -> objects_pb2.WatchEvent | None:
    """What a watcher with a selector sees: an object that stops matching is deleted to it."""
    before, after = matches(event.old), matches(event.new)
    if after and event.new is not None:
        return _event(_EVENT.MODIFIED if before else _EVENT.ADDED, kind, event.new)
    if before and event.old is not None:
        last = event.new or event.old
        return _event(_EVENT.DELETED, kind, Row(kind, last.key, last.value, event.revision), event.revision)
    return None


def _batched(events: list[objects_pb2.WatchEvent]) -> list[objects_pb2.WatchResponse]:
    starts = range(0, len(events), WATCH_BATCH)
    return [objects_pb2.WatchResponse(events=events[start : start + WATCH_BATCH]) for start in starts]
