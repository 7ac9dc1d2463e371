"""The audit log around the HTTPS port: a record of each request once it is answered, also when it is refused."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from controlplane.access.auditlog import MAX_OBJECT, Log
from controlplane.access.auditpolicy import Body, Record
from controlplane.access.identity import ANONYMOUS
from controlplane.http.messages import Request, Response, Upgrade
from controlplane.http.server import Application
from controlplane.requests import objectjson
from controlplane.resources.registry import Registry
from controlplane.rest import options, paths
from controlplane.rest.bodies import MAGIC, dumps, envelope
from controlplane.rest.paths import Target
from pinnace.clock import Clock, Ids
from pinnace.errors import ApiError, BadRequest

_NONE = Target("", "", "")
# No status was sent to a client that has gone: nginx' code for it.
CLIENT_GONE = 499


@dataclass(frozen=True, slots=True)
class Audited:
    """An Application, and the log of what is asked of it. `registry`: the kinds of objects in protobuf."""

    site: Application
    log: Log
    registry: Registry
    clock: Clock
    ids: Ids

    async def identify(self, request: Request, certificate: bytes) -> Request:
        """Raises what the site raises."""
        received = self.clock.now()
        try:
            return await self.site.identify(request, certificate)
        except ApiError as error:
            self._put(request, received, error.http, b"")
            raise

    def streams(self, request: Request) -> bool:
        return self.site.streams(request)

    async def respond(self, request: Request) -> Response | Upgrade:
        received = self.clock.now()
        try:
            answer = await self.site.respond(request)
        except asyncio.CancelledError:
            # What was asked for may have been done all the same.
            self._put(request, received, CLIENT_GONE, b"")
            raise
        if isinstance(answer, Response):
            self._put(request, received, answer.status, answer.body if isinstance(answer.body, bytes) else b"")
        else:
            self._put(request, received, 101, b"")
        return answer

    def refuse(self, error: ApiError) -> Response:
        return self.site.refuse(error)

    def _put(self, request: Request, received: float, code: int, response: bytes) -> None:
        target, user = paths.parse(request.path) or _NONE, request.identity or ANONYMOUS
        verb = target.verb(request.method, watch=options.flag(request, "watch")) if target.resource else ""
        query = "&".join(f"{name}={value}" for name, values in request.query.items() for value in values)
        self.log.put(
            Record(
                id=self.ids.uid(), uri=f"{request.path}?{query}" if query else request.path,
                verb=verb or request.method.lower()[:20], user=user.actor.user, groups=user.actor.groups, source=request.peer,
                agent=request.header("user-agent"), received=received, answered=self.clock.now(), code=code,
                group=target.group, version=target.version, resource=target.resource, subresource=target.subresource,
                namespace=target.namespace, name=target.name, request=self._body(request.body), response=self._body(response),
                impersonated=user if user.impersonator is not None else None,
            )
        )  # fmt: skip

    def _body(self, data: bytes) -> Body:
        """What is in protobuf is JSON in the log."""
        return partial(self._json, data) if data.startswith(MAGIC) and len(data) <= MAX_OBJECT else data

    def _json(self, data: bytes) -> bytes:
        """Nothing for what cannot be read, and for lists."""
        try:
            found = envelope(data)
        except BadRequest:
            return b""
        value = objectjson.value_of(self.registry, found.typeMeta.apiVersion, found.typeMeta.kind, found.raw)
        return b"" if value is None else dumps(value)
