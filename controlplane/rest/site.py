"""The HTTPS port as a whole: who asks, may they, and which part answers.

Paths are the API's resources, its documents (discovery, OpenAPI, version), and pages: joining, health, metrics.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from controlplane import metrics
from controlplane.access.identity import ANONYMOUS, MASTERS
from controlplane.http.messages import Access, Request, Response, Route, Upgrade
from controlplane.resources.registry import Registry
from controlplane.resources.resource import PROXIED, Resource
from controlplane.rest import documents, options, paths, status
from controlplane.rest.callers import Callers
from controlplane.rest.discovery import Discovery
from controlplane.rest.flow import READS, WRITES, Flow
from controlplane.rest.objects import Objects
from controlplane.rest.paths import Target
from controlplane.rest.podstreams import PodStreams
from controlplane.rest.virtual import Source
from controlplane.store import Store, origin
from pinnace.clock import perf
from pinnace.errors import ApiError, BadRequest, Forbidden, Internal, MethodNotAllowed, NotFound, Timeout

if TYPE_CHECKING:
    from controlplane.rest.openapi.documents import OpenAPI
    from controlplane.rest.openapi.swaggerdocument import SwaggerDocument

log = logging.getLogger("pinnace.rest")
# Seconds that a request has to be answered, unless it is a watch or for a proxy, which has deadlines of its own.
DEADLINE = 60.0
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_TEXT_404 = Response(b"404 page not found\n", status=404)


class Site:
    """A `controlplane.http.server.Application`."""

    def __init__(
        self,
        store: Store,
        objects: Objects,
        streams: PodStreams,
        discovery: Discovery,
        routes: dict[str, Route],
        *,
        callers: Callers,
        virtual: Sequence[Source],
    ) -> None:
        self._store = store
        self._registry = Registry.of(store)
        self._described: tuple[OpenAPI, SwaggerDocument] | None = None
        self._reads, self._writes = Flow(READS), Flow(WRITES)
        self._objects = objects
        self._streams = streams
        self._discovery = discovery
        self._routes = routes
        self._callers = callers
        self._virtual = tuple(virtual)

    async def identify(self, request: Request, certificate: bytes) -> Request:
        """Raises Unauthenticated."""
        route = self._routes.get(request.path)
        if route is not None and route.access is Access.PUBLIC:
            return request
        caller = self._callers.authenticated(request, certificate)
        try:
            return replace(request, identity=self._callers.acting(request, caller))
        except (Forbidden, BadRequest) as error:
            # The caller is known, and recorded with what it may not do.
            return replace(request, identity=caller, refused=error)

    def streams(self, request: Request) -> bool:
        """Bodies for a proxy have no end that this server decides on."""
        target = paths.parse(request.path) if paths.PROXY in request.path else None
        return target is not None and target.subresource == paths.PROXY

    def refuse(self, error: ApiError) -> Response:
        return status.refusal(error)

    async def respond(self, request: Request) -> Response | Upgrade:
        started = perf()
        try:
            async with asyncio.timeout(None if self.streams(request) else DEADLINE):
                response = await self._respond(request)
        except ApiError as error:
            response = status.refusal(error)
        except TimeoutError:
            response = status.refusal(Timeout(f"the server could not answer within {DEADLINE:.0f} s", retry_after=1))
        except Exception:
            log.exception("rest_failed method=%s path=%s", request.method[:20], request.path[:200])
            response = status.refusal(Internal("an error on the server has prevented the request from succeeding"))
        # Strangers choose methods too, and every name of one is kept.
        method = request.method if request.method in _METHODS else "other"
        metrics.observe_call(f"REST {method}", str(getattr(response, "status", 101)), perf() - started)
        return response

    async def _respond(self, request: Request) -> Response | Upgrade:
        if request.refused is not None:
            raise request.refused
        route = self._routes.get(request.path)
        if route is not None:
            return await self._page(route, request)
        target = paths.parse(request.path)
        if target is None:
            self._callers.require_path(request.identity, request)
            return await self._document(request) or _TEXT_404
        verb = target.verb(request.method, watch=options.flag(request, "watch"))
        # Before it is looked up: who may not see a resource does not learn whether there is one.
        fields = request.param("fieldSelector") if verb in ("list", "watch") else ""
        self._callers.require(request.identity, verb, target, fields=fields)
        source, resource = self._source(target)
        if resource is None:
            return _TEXT_404
        kind = resource.kind
        if bool(target.namespace) and not kind.namespaced:
            return _TEXT_404
        if kind.namespaced and not target.namespace and (target.name or verb not in ("list", "watch")):
            raise NotFound("the server could not find the requested resource", kind=target.qualified)
        if target.subresource in resource.streams:
            self._check_stream(request, target, resource.streams[target.subresource].verbs, verb)
            return await self._streams.respond(request, target)
        async with self._turn(request, verb):
            with origin.acting((request.identity or ANONYMOUS).user):
                origin.note(verb=verb, subresource=target.subresource)
                return await source.respond(request, target, resource, verb)

    def _check_stream(self, request: Request, target: Target, verbs: tuple[str, ...], verb: str) -> None:
        """Raises MethodNotAllowed, Forbidden."""
        if verb not in verbs:
            raise MethodNotAllowed(f"the server does not allow this method on the requested resource ({request.method[:20]})")
        if verbs != PROXIED and "create" in verbs and verb != "create":
            # A WebSocket begins with GET, and a right to read is none to run a command (KEP-4006, since 1.35).
            self._callers.require(request.identity, "create", target)

    def _source(self, target: Target) -> tuple[Source | Objects, Resource | None]:
        """The source of a resource, and the resource; None for one that is not served."""
        for source in self._virtual:
            resource = source.resource(target)
            if resource is not None:
                return source, resource
        kind = self._registry.by_plural(target.api_version, target.resource)
        return self._objects, None if kind is None else self._registry.resource(kind)

    def _turn(self, request: Request, verb: str) -> AbstractAsyncContextManager[None]:
        """A request's turn among those of all users. Watches and administrators do not wait, as in Kubernetes."""
        identity = request.identity
        if verb == "watch" or identity is None or MASTERS in identity.groups:
            return nullcontext()
        flow = self._reads if verb in ("get", "list") else self._writes
        return flow.turn(identity.user)

    async def _page(self, route: Route, request: Request) -> Response:
        if request.method != route.method and not (request.method == "HEAD" and route.method == "GET"):
            raise BadRequest(f"{request.path} is for {route.method}, not {request.method[:20]}")
        if route.access is not Access.PUBLIC:
            self._callers.require_path(request.identity, request)
        return await route.respond(request)

    async def _openapi(self, request: Request) -> Response | None:
        """Loads what makes the documents when one is first asked for."""
        if not request.path.startswith("/openapi/"):
            return None
        if self._described is None:
            from controlplane.rest.openapi.documents import OpenAPI
            from controlplane.rest.openapi.swaggerdocument import SwaggerDocument

            described = OpenAPI(self._store)
            self._described = described, SwaggerDocument(described)
        described, merged = self._described
        return await described.respond(request) or await merged.respond(request)

    async def _document(self, request: Request) -> Response | None:
        if request.method not in ("GET", "HEAD"):
            return None
        return documents.respond(request) or await self._openapi(request) or self._discovery.respond(request)
