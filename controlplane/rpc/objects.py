"""The Objects service: RPC shells that open a transaction, call a verb, and seal the answer."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from controlplane.access.attributes import selected_name
from controlplane.requests import actions, decoding, discovery, subresources, verbs
from controlplane.requests.execution import Executor
from controlplane.requests.patch import PatchType, patched
from controlplane.requests.unsent import Unsent
from controlplane.resources import Registry, Resource
from controlplane.rpc import connections, tables
from controlplane.rpc.parts import of_part
from controlplane.rpc.permissions import Permissions
from controlplane.rpc.reading import fill, rendering, selection, watch
from controlplane.store import Store, Tx, origin
from pinnace import wire
from pinnace.api.v1 import objects_pb2, objects_pb2_grpc
from pinnace.clock import Clock, Ids
from pinnace.errors import ApiError, BadRequest, Internal, NotFound
from pinnace.kinds import Kind
from pinnace.messages import clone

log = logging.getLogger("pinnace.api")
MAX_APPLY = 1_000
MAX_SUPERSEDED = 32
_TYPES = objects_pb2.PatchRequest
_PATCH_TYPES = {_TYPES.JSON: PatchType.JSON, _TYPES.MERGE: PatchType.MERGE, _TYPES.STRATEGIC: PatchType.STRATEGIC}


def seal_message(kind: Kind, message: Any) -> objects_pb2.Object:
    return objects_pb2.Object(apiVersion=kind.api_version, kind=kind.kind, protobuf=message.SerializeToString())


class Objects(objects_pb2_grpc.ObjectsServicer):
    def __init__(
        self, store: Store, clock: Clock, ids: Ids, executor: Executor | None = None, permissions: Permissions | None = None
    ) -> None:
        self._may = permissions or Permissions()
        self._store = store
        self._registry = Registry.of(store)
        self._execute = executor or Executor(store)
        self._unsent = Unsent(clock)
        self._clock = clock
        self._ids = ids

    def _kind(self, ref: objects_pb2.Reference) -> Kind:
        return self._registry.find(ref.apiVersion, ref.kind)

    def _read(self, verb: str, ref: objects_pb2.Reference, fields: str) -> Resource:
        """The resource of a collection that the caller may list or watch. Raises NotFound, Forbidden."""
        kind = self._kind(ref)
        self._may.on(verb, kind, namespace=ref.namespace, name=ref.name or selected_name(fields))
        return self._registry.resource(kind)

    def _open(self, request: objects_pb2.WriteRequest, *, status: bool = False) -> tuple[Kind, Any]:
        """The object of a write, with or without the status of its JSON. Raises Invalid and BadRequest."""
        item = request.object
        resource = self._registry.resource(self._registry.find(item.apiVersion, item.kind))
        if item.WhichOneof("body") == "json":
            return resource.kind, decoding.from_json(resource, item.json, request.namespace, status=status)
        return resource.kind, decoding.from_protobuf(resource, item.protobuf, request.namespace)

    def _call(self, manager: str, superseded: Sequence[str] = ()) -> verbs.Call:
        if len(superseded) > MAX_SUPERSEDED:
            raise BadRequest(f"at most {MAX_SUPERSEDED} supersededManagers in one Apply")
        if any(len(name) > 128 or not name.isprintable() for name in (manager, *superseded)):
            raise BadRequest("fieldManager must be printable and at most 128 characters")
        origin.note(manager=manager)
        return verbs.Call(self._clock.now(), self._ids, manager or "unknown", frozenset(superseded), caller=self._may.caller)

    async def Get(self, request: objects_pb2.GetRequest, context: Any) -> objects_pb2.Object:
        kind, ref = self._kind(request.ref), request.ref
        part = request.subresource
        self._may.on("get", kind, namespace=ref.namespace, name=ref.name, subresource=part)
        await self._store.sync()
        form = subresources.form(self._registry.resource(kind), part)
        found = self._store.view(lambda tx: subresources.find(tx, kind, ref.namespace, ref.name, part))
        if request.HasField("table"):
            return tables.sealed(tables.table(form, [found], request.table, now=self._clock.now()))
        return seal_message(form.kind, found)

    async def List(self, request: objects_pb2.ListRequest, context: Any) -> objects_pb2.ListResponse:
        resource = self._read("list", request.ref, request.fieldSelector)
        selected = selection(resource, request)
        page = await self._store.page(selected.query(request.limit), request.continueToken)
        as_table = request.HasField("table")
        made = objects_pb2.ListResponse(
            table=await tables.page(resource, page.rows, request.table, now=self._clock.now()) if as_table else None,
            resourceVersion=str(page.revision),
            continueToken=page.token,
            remainingItemCount=page.remaining,
        )
        for row in () if as_table else page.rows:
            fill(selected.kind, row, made.items.add())
        return made

    async def Watch(self, request: objects_pb2.WatchRequest, context: Any) -> AsyncIterator[objects_pb2.WatchResponse]:
        resource = self._read("watch", request.ref, request.fieldSelector)
        selected, render = selection(resource, request), rendering(resource, request, self._clock)
        # Now, as gRPC does not know it any more of a call that has ended.
        peer = context.peer() if context is not None else ""
        caller = self._may.caller
        responses = watch(
            self._store, selected, request.resourceVersion, render=render, unsent=self._unsent,
            end=lambda: connections.close(peer), user=caller.user if caller is not None else None,
        )  # fmt: skip
        async with aclosing(responses):
            async for response in responses:
                yield response

    async def Create(self, request: objects_pb2.WriteRequest, context: Any) -> objects_pb2.Object:
        if request.subresource:
            return await self._act(request)
        kind, message = self._open(request)
        self._may.on("create", kind, namespace=message.metadata.namespace)
        call = self._call(request.fieldManager)

        def fn(tx: Tx) -> Any:
            return verbs.create(tx, kind, clone(message), call)

        made = await self._execute.create(kind, message.metadata.namespace, fn, dry_run=request.dryRun)
        _warn(context, call)
        return seal_message(kind, made)

    async def _act(self, request: objects_pb2.WriteRequest) -> objects_pb2.Object:
        kind, ref, part = self._kind(request.ref), request.ref, request.subresource
        self._may.on("create", kind, namespace=ref.namespace, name=ref.name, subresource=part)
        resource = self._registry.resource(kind)
        action = resource.actions.get(part)
        if action is None:
            raise NotFound(f'{kind.plural} have no "{part[:80]}" that can be created', kind=kind.plural, name=ref.name)
        message, call = of_part(action.form, request.object, ref), self._call(request.fieldManager)
        fn = lambda tx: actions.perform(tx, resource, action, ref.namespace, ref.name, message, call)  # noqa: E731
        await self._execute.run(fn, dry_run=request.dryRun or actions.is_dry_run(message))
        return seal_message(action.form.kind, message)

    async def Update(self, request: objects_pb2.WriteRequest, context: Any) -> objects_pb2.Object:
        if request.subresource:
            return await self._update_part(request, context)
        kind, message = self._open(request)
        self._may.on("update", kind, namespace=message.metadata.namespace, name=message.metadata.name)
        call = self._call(request.fieldManager)
        fn = lambda tx: verbs.update(tx, kind, clone(message), call)  # noqa: E731
        updated = await self._execute.run(fn, dry_run=request.dryRun)
        _warn(context, call)
        return seal_message(kind, updated)

    async def _update_part(self, request: objects_pb2.WriteRequest, context: Any) -> objects_pb2.Object:
        kind, ref, part = self._kind(request.ref), request.ref, request.subresource
        self._may.on("update", kind, namespace=ref.namespace, name=ref.name, subresource=part)
        resource = self._registry.resource(kind)
        form = subresources.form(resource, part)
        message = of_part(form, request.object, ref)
        call = self._call(request.fieldManager)
        fn = lambda tx: subresources.update(tx, kind, clone(message), call, part)  # noqa: E731
        updated = await self._execute.update(resource, part, ref.namespace, fn, dry_run=request.dryRun)
        _warn(context, call)
        return seal_message(form.kind, subresources.view(resource, updated, part))

    async def UpdateStatus(self, request: objects_pb2.WriteRequest, context: Any) -> objects_pb2.Object:
        kind, message = self._open(request, status=True)
        self._may.on(
            "update", kind, namespace=message.metadata.namespace, name=message.metadata.name, subresource="status"
        )  # fmt: skip
        call = self._call(request.fieldManager)
        fn = lambda tx: verbs.update_status(tx, kind, clone(message), call)  # noqa: E731
        return seal_message(kind, await self._execute.run(fn, dry_run=request.dryRun))

    async def Patch(self, request: objects_pb2.PatchRequest, context: Any) -> objects_pb2.Object:
        kind, ref = self._kind(request.ref), request.ref
        self._may.on("patch", kind, namespace=ref.namespace, name=ref.name, subresource=request.subresource)
        call = self._call(request.fieldManager)
        resource, part = self._registry.resource(kind), request.subresource
        form = subresources.form(resource, part)
        patch_type = _PATCH_TYPES.get(request.type)
        if patch_type is None:
            raise BadRequest("the patch type is not one of JSON, MERGE, STRATEGIC")

        def change(of: Kind, old: Any) -> Any:
            return patched(of, old, patch_type, request.patch)

        def fn(tx: Tx) -> Any:
            return subresources.patch(tx, kind, ref.namespace, ref.name, change, call, part=part)

        updated = await self._execute.update(resource, part, ref.namespace, fn, dry_run=request.dryRun)
        _warn(context, call)
        return seal_message(form.kind, subresources.view(resource, updated, part))

    async def Apply(self, request: objects_pb2.ApplyRequest, context: Any) -> objects_pb2.ApplyResponse:
        if len(request.objects) > MAX_APPLY:
            raise BadRequest(f"at most {MAX_APPLY} objects in one Apply")
        call = self._call(request.fieldManager, request.supersededManagers)
        response = objects_pb2.ApplyResponse()
        # In order: a namespace first makes the objects in it possible.
        for item in request.objects:
            response.results.append(await self._apply_one(item, request, call))
        _warn(context, call)
        return response

    async def _apply_one(self, item: objects_pb2.Object, request: Any, call: verbs.Call) -> objects_pb2.ApplyResult:
        result = objects_pb2.ApplyResult
        try:
            kind = self._registry.find(item.apiVersion, item.kind)
            part = request.subresource
            resource = self._registry.resource(kind)
            subresources.check_applied(resource, part)
            if subresources.form(resource, part) is not resource:
                raise BadRequest(f"{kind.resource}/{part} is not applied as a {kind.kind}: patch it")
            manifest = decoding.manifest(resource, item.json, request.namespace, status=bool(part))
            meta = manifest.get("metadata")
            namespace, name = (str(meta.get(key, "")) for key in ("namespace", "name")) if isinstance(meta, dict) else ("", "")
            self._may.on("patch", kind, namespace=namespace, name=name, subresource=part)

            def fn(tx: Tx) -> tuple[str, Any]:
                if part:
                    origin.note(verb="apply")
                    return verbs.apply_part(tx, kind, part, manifest, call, force=request.force)
                if tx.get(kind, namespace, name) is None:
                    self._may.on("create", kind, namespace=namespace, name=name)
                origin.note(verb="apply")
                return verbs.apply(tx, kind, manifest, call, force=request.force)

            outcome, stored = await self._execute.create(kind, namespace, fn, dry_run=request.dryRun)
            return result(outcome=outcome.upper(), object=seal_message(kind, stored))
        except ApiError as error:
            failure = error
        except Exception as error:
            # A defect in the rules of one kind must not fail the other objects of the request.
            log.exception("apply_failed kind=%s", item.kind[:80])
            failure = Internal(f"internal error in Apply: {type(error).__name__}")
        return result(outcome=result.FAILED, error=wire.to_status(failure, most=wire.MAX_STATUS))

    async def Delete(self, request: objects_pb2.DeleteRequest, context: Any) -> objects_pb2.DeleteResponse:
        kind, ref = self._kind(request.ref), request.ref
        self._may.on("delete", kind, namespace=ref.namespace, name=ref.name)
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

        message, gone = await self._execute.run(fn, dry_run=request.dryRun)
        return objects_pb2.DeleteResponse(object=seal_message(kind, message), gone=gone)

    async def Discover(self, request: objects_pb2.DiscoverRequest, context: Any) -> objects_pb2.DiscoverResponse:
        self._may.at("get", "/apis")
        return tables.discovered(discovery.groups(self._registry))


def _warn(context: Any, call: verbs.Call) -> None:
    """Tell the client what the verbs warn of; without a context, which tests leave out, nobody is told."""
    if call.warnings and context is not None:
        context.set_trailing_metadata(wire.warnings_metadata(call.warnings))
