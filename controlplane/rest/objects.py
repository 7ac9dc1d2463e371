"""Objects and collections: each verb of the REST API as a call of the request pipeline.

Source: "API verbs" and "Resource operations" of the Kubernetes API concepts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from controlplane.access import attributes
from controlplane.access.authorizer import Authorizer, require
from controlplane.access.identity import ANONYMOUS
from controlplane.http.messages import Request, Response
from controlplane.requests import actions, decoding, deletion, duplicates, subresources, unknownfields, verbs
from controlplane.requests.deletion import DeleteOptions
from controlplane.requests.execution import Executor
from controlplane.requests.patch import PatchType, patched
from controlplane.requests.selection import Selection
from controlplane.requests.watching import parse_revision
from controlplane.resources.registry import Registry
from controlplane.resources.resource import Action, Resource
from controlplane.rest import bodies, lists, negotiation, options, status, watches
from controlplane.rest.bodies import FieldValidation
from controlplane.rest.options import ListOptions
from controlplane.rest.paths import Target
from controlplane.rest.rendering import ListMeta, Renderer
from controlplane.store import Store, StoredObject, Tx, origin
from pinnace import schematree
from pinnace.clock import Clock, Ids
from pinnace.errors import Invalid, MethodNotAllowed, NotFound
from pinnace.kinds import Kind
from pinnace.messages import clone

APPLY_YAML, APPLY_CBOR = "apply-patch+yaml", "apply-patch+cbor"
_PATCHES = {f"application/{item.value}": item for item in PatchType}
# Bytes of all warnings of one response, and of one of them.
MAX_WARNINGS, MAX_WARNING = 4096, 256


class Objects:
    def __init__(self, store: Store, clock: Clock, ids: Ids, executor: Executor, authorizer: Authorizer) -> None:
        self._store = store
        self._registry = Registry.of(store)
        self._execute = executor
        self._authorizer = authorizer
        self._clock = clock
        self._ids = ids

    async def respond(self, request: Request, target: Target, resource: Resource, verb: str) -> Response:
        """Raises ApiError."""
        action = resource.actions.get(target.subresource)
        if action is not None and verb == "create":
            return await self._act(request, target, resource, action)
        if action is not None or not _has_place(target, verb):
            raise _not_allowed(request, verb)
        if target.subresource and resource.subresource(target.subresource) is None:
            raise NotFound("the server could not find the requested resource", kind=target.qualified, name=target.name)
        form = subresources.form(resource, target.subresource)
        renderer = Renderer.of(request, form, self._clock.now(), watch=verb == "watch")
        handler = getattr(self, f"_{verb}", None)
        allowed = ("get", "update", "patch") if target.subresource else (*resource.verbs, "patch", "update")
        if handler is None or verb not in allowed:
            raise _not_allowed(request, verb)
        response: Response = await handler(request, target, resource, renderer)
        return response

    def _call(self, request: Request) -> verbs.Call:
        manager = options.manager(request)
        origin.note(manager=manager)
        return verbs.Call(self._clock.now(), self._ids, manager, caller=request.identity)

    # Reading

    async def _get(self, request: Request, target: Target, resource: Resource, renderer: Renderer) -> Response:
        version = request.param("resourceVersion")
        if version:
            await lists.reached(self._store, parse_revision(version))
        if version != "0":
            await self._store.sync()
        find = functools.partial(
            subresources.find, kind=resource.kind, namespace=target.namespace, name=target.name, part=target.subresource
        )
        found = self._store.view(find)
        return _answer(renderer, found)

    async def _list(self, request: Request, target: Target, resource: Resource, renderer: Renderer) -> Response:
        wanted = ListOptions.of(request, watch=False)
        return await lists.respond(self._store, _selection(resource, target, wanted), wanted, renderer)

    async def _watch(self, request: Request, target: Target, resource: Resource, renderer: Renderer) -> Response:
        wanted = ListOptions.of(request, watch=True)
        return watches.respond(self._store, _selection(resource, target, wanted), wanted, renderer)

    # Writing

    async def _create(self, request: Request, target: Target, resource: Resource, renderer: Renderer) -> Response:
        kind, call = resource.kind, self._call(request)
        message = await self._message(request, target, resource, call)

        def fn(tx: Tx) -> Any:
            return verbs.create(tx, kind, clone(message), call)

        made = await self._execute.create(kind, message.metadata.namespace, fn, dry_run=options.dry_run(request))
        return _answer(renderer, made, 201, call.warnings)

    async def _act(self, request: Request, target: Target, resource: Resource, action: Action[Any, Any]) -> Response:
        call = self._call(request)
        asked = await self._message(request, target, action.form, call)

        def fn(tx: Tx) -> None:
            actions.perform(tx, resource, action, target.namespace, target.name, asked, call)

        await self._execute.run(fn, dry_run=options.dry_run(request) or actions.is_dry_run(asked))
        return Response(bodies.dumps(status.success()), negotiation.JSON, 201)

    async def _update(self, request: Request, target: Target, resource: Resource, renderer: Renderer) -> Response:
        kind, part = resource.kind, target.subresource
        call = replace(self._call(request), conditional=True)
        message = await self._message(request, target, subresources.form(resource, part), call, status=bool(part))

        def fn(tx: Tx) -> tuple[int, Any]:
            if resource.creates_on_update and not part and tx.get(kind, target.namespace, target.name) is None:
                self._require_create(request, target, kind)
                return 201, verbs.create_absent(tx, kind, clone(message), call)
            return 200, subresources.update(tx, kind, clone(message), call, part)

        status, updated = await self._execute.update(resource, part, target.namespace, fn, dry_run=options.dry_run(request))
        return _answer(renderer, subresources.view(resource, updated, part), status, call.warnings)

    def _require_create(self, request: Request, target: Target, kind: Kind) -> None:
        """Raises Forbidden for a client that may write the object, and not create it."""
        caller = request.identity or ANONYMOUS
        require(self._authorizer, attributes.on(caller, "create", kind, namespace=target.namespace, name=target.name))

    async def _message(
        self, request: Request, target: Target, resource: Resource, call: verbs.Call, *, status: bool = False
    ) -> Any:
        """The object in the body. Raises ApiError."""
        body = await bodies.read(resource, target, request)
        _warn(call, bodies.refuse_unknown(resource, body, FieldValidation.of(request)))
        return decoding.from_value(resource, body.value, target.namespace, status=status)

    async def _patch(self, request: Request, target: Target, resource: Resource, renderer: Renderer) -> Response:
        media = (negotiation.parse(request.header("content-type")) or negotiation.Media("")).type
        if media == f"application/{APPLY_YAML}":
            return await self._apply(request, target, resource, renderer)
        form = subresources.form(resource, target.subresource)
        known = [name for name, item in _PATCHES.items() if item is not PatchType.STRATEGIC or form.kind.schema is None]
        type_ = _PATCHES[negotiation.content_type(media, known=(*known, f"application/{APPLY_YAML}"))]
        kind, call, part = resource.kind, self._call(request), target.subresource
        validation = FieldValidation.of(request)

        def fit(value: dict[str, Any]) -> dict[str, Any]:
            cleaned, unknown = unknownfields.drop(schematree.of_kind(form.kind), value)
            body = bodies.Body(cleaned, tuple(f'unknown field "{path}"' for path in unknown))
            _warn(call, bodies.refuse_unknown(form, body, validation))
            return body.value

        def change(of: Kind, old: Any) -> Any:
            return patched(of, old, type_, request.body, fit)

        def fn(tx: Tx) -> Any:
            return subresources.patch(tx, kind, target.namespace, target.name, change, call, part=part)

        updated = await self._execute.update(resource, part, target.namespace, fn, dry_run=options.dry_run(request))
        return _answer(renderer, subresources.view(resource, updated, part), 200, call.warnings)

    async def _apply(self, request: Request, target: Target, resource: Resource, renderer: Renderer) -> Response:
        origin.note(verb="apply")
        if not request.param("fieldManager"):
            raise Invalid('PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch')
        kind, call, part = resource.kind, self._call(request), target.subresource
        subresources.check_applied(resource, part)
        form = subresources.form(resource, part)
        # No value of fieldValidation permits unknown fields in an applied configuration.
        FieldValidation.of(request)
        body = await bodies.applied(form, target, request)
        undeclared = [f".{path}: field not declared in schema" for path in body.paths]
        duplicates.refuse_errors(form.kind, undeclared, target.namespace, target.name)
        manifest = decoding.cleaned(form, body.value, target.namespace, status=bool(part))
        duplicates.refuse(form.kind, manifest, target.namespace, target.name)
        force = options.flag(request, "force")

        def fn(tx: Tx) -> tuple[str, Any]:
            if part:
                return verbs.apply_part(tx, kind, part, manifest, call, force=force)
            if tx.get(kind, target.namespace, target.name) is None:
                self._require_create(request, target, kind)
            return verbs.apply(tx, kind, manifest, call, force=force)

        outcome, stored = await self._execute.create(kind, target.namespace, fn, dry_run=options.dry_run(request))
        shown = subresources.view(resource, stored, part)
        return _answer(renderer, shown, 201 if outcome == "created" else 200, call.warnings)

    # Deleting

    async def _delete(self, request: Request, target: Target, resource: Resource, renderer: Renderer) -> Response:
        if target.subresource:
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        kind, asked, now = resource.kind, options.deletion(request), self._clock.now()
        fn = functools.partial(_delete_one, resource, target.namespace, target.name, asked.options, now)
        message, gone = await self._execute.run(fn, dry_run=asked.dry_run)
        if not gone:
            return _answer(renderer, message, 202 if asked.accepted else 200)
        if resource.returns_deleted or renderer.form.shape:
            return _answer(renderer, message)
        meta = message.metadata
        done = status.success(name=meta.name, group=kind.group, resource=kind.plural, uid=meta.uid)
        return Response(bodies.dumps(done), negotiation.JSON)

    async def _deletecollection(self, request: Request, target: Target, resource: Resource, renderer: Renderer) -> Response:
        wanted, asked, now = ListOptions.of(request, watch=False), options.deletion(request), self._clock.now()
        query = _selection(resource, target, wanted).query(wanted.limit, size=1 << 62)
        page = await lists.page_of(self._store, query, wanted)
        delete = functools.partial(_delete_row, resource, asked.options, now)
        if asked.dry_run:
            for row in page.rows:
                self._store.view(functools.partial(_swap, delete, row))
        else:
            results = await self._store.update_each(page.rows, delete)
            failure = next((item for item in results if isinstance(item, Exception) and not isinstance(item, NotFound)), None)
            if failure is not None:
                raise failure
        meta = ListMeta(page.revision, page.token, page.remaining)
        return Response(renderer.list(page.rows, meta), renderer.form.content_type)


def _has_place(target: Target, verb: str) -> bool:
    """Objects are created in a collection, and written at their own paths."""
    return bool(target.subresource) or verb not in ("create", "update", "patch") or bool(target.name) is not (verb == "create")


def _not_allowed(request: Request, verb: str) -> MethodNotAllowed:
    return MethodNotAllowed(f"the server does not allow this method on the requested resource ({verb or request.method[:20]})")


def _swap(delete: Callable[[Tx, StoredObject], Any], row: StoredObject, tx: Tx) -> Any:
    return delete(tx, row)


def _delete_one(resource: Resource, namespace: str, name: str, wanted: DeleteOptions, now: float, tx: Tx) -> tuple[Any, bool]:
    return deletion.delete(tx, resource.kind, namespace, name, wanted, now=now)


def _delete_row(resource: Resource, wanted: DeleteOptions, now: float, tx: Tx, row: StoredObject) -> tuple[Any, bool]:
    meta = row.message.metadata
    return _delete_one(resource, meta.namespace, meta.name, wanted, now, tx)


def _selection(resource: Resource, target: Target, wanted: ListOptions) -> Selection:
    return Selection(
        resource, namespace=target.namespace, name=target.name, labels=wanted.labels, fields=wanted.fields
    )  # fmt: skip


def _warn(call: verbs.Call, texts: Sequence[str]) -> None:
    call.warnings.update(dict.fromkeys(texts))


def _answer(renderer: Renderer, message: Any, code: int = 200, warnings: dict[str, None] | None = None) -> Response:
    headers = tuple(("warning", text) for text in _headers(warnings or {}))
    return Response(renderer.object(message), renderer.form.content_type, code, headers, compressible=True)


def _headers(warnings: dict[str, None]) -> list[str]:
    """RFC 9111's (and RFC 7234's) Warning header: code 299, no agent, quoted text."""
    found, size = list[str](), 0
    for text in warnings:
        plain = "".join(char if char.isprintable() and char.isascii() else "?" for char in text)[:MAX_WARNING]
        line = '299 - "' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
        size += len(line)
        if size > MAX_WARNINGS:
            break
        found.append(line)
    return found
