"""A client of the REST API without a wire: requests to `Site`, as an administrator."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qsl

from controlplane.access import control
from controlplane.access.authorizers import Authorizers
from controlplane.access.identity import MASTERS, Identity
from controlplane.http.compression import compressed
from controlplane.http.messages import Request, Response, Upgrade
from controlplane.http.server import Application
from controlplane.requests.execution import Executor
from controlplane.resources.registry import Registry
from controlplane.rest import issuer
from controlplane.rest.callers import Callers
from controlplane.rest.discovery import Discovery
from controlplane.rest.objects import Objects
from controlplane.rest.podstreams import PodStreams
from controlplane.rest.resourcemetrics import ResourceMetrics
from controlplane.rest.reviews import Reviews
from controlplane.rest.site import Site
from controlplane.rest.statistics import Statistics
from pinnace.errors import ApiError
from tests.support.cluster import Cluster
from tests.support.streamrouter import FakeRouter

ADMINISTRATOR = Identity("admin", (MASTERS,))


def _tokens(folder: str) -> str:
    """A static token file with one user."""
    file = Path(folder) / "tokens.csv"
    file.write_text('token-of-alice,alice,alice-uid,"developers"\n')
    return str(file)


class Rest:
    def __init__(self, cluster: Cluster, identity: Identity = ADMINISTRATOR) -> None:
        registry = Registry.of(cluster.store)
        # Anything but nothing: what a certificate says is `identity`. Empty, to send tokens.
        self._certificate = b"certificate"
        # No nodes, but streams to what stands for them.
        self.router = FakeRouter()
        streams = PodStreams(cluster.store, self.router, cluster.clock)
        authorizers = Authorizers(cluster.store)
        objects = Objects(cluster.store, cluster.clock, cluster.ids, Executor(cluster.store), authorizers)
        registry.plugins += (authorizers.plugin(),)
        with TemporaryDirectory() as keys:
            settings = control.TokenSettings(file=_tokens(keys))
            access = control.build(cluster.store, cluster.ids, authorizers, Path(keys), settings)
        self.site: Application = Site(
            cluster.store, objects, streams, Discovery(registry, "192.0.2.1:6444"),
            issuer.routes(access, "192.0.2.1:6444"),
            callers=Callers(lambda _: identity, access.tokens, authorizers, cluster.clock),
            virtual=(
                Reviews(access.reviews, cluster.clock),
                ResourceMetrics(cluster.store, Statistics(self.router, cluster.clock, within=1.0), cluster.clock),
            ),
        )  # fmt: skip

    def request(self, method: str, url: str, body: Any = None, **headers: str) -> Request:
        """`headers` with underscores for dashes; a body that is not bytes is sent as JSON."""
        path, _, text = url.partition("?")
        query: dict[str, list[str]] = {}
        for key, value in parse_qsl(text, keep_blank_values=True):
            query.setdefault(key, []).append(value)
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): [value] for name, value in headers.items()}
        return Request(method, path, data, None, query, named)

    def anonymous(self, wanted: bool = True) -> None:
        """Whether to send no client certificate from here on."""
        self._certificate = b"" if wanted else b"certificate"

    async def answer(self, method: str, url: str, body: Any = None, **headers: str) -> Response | Upgrade:
        request = self.request(method, url, body, **headers)
        try:
            request = await self.site.identify(request, self._certificate)
        except ApiError as error:
            return self.site.refuse(error)
        answer = await self.site.respond(request)
        # As the HTTP server does with what it gets of the application.
        return await compressed(request, answer) if isinstance(answer, Response) else answer

    async def respond(self, method: str, url: str, body: Any = None, **headers: str) -> Response:
        answer = await self.answer(method, url, body, **headers)
        assert isinstance(answer, Response)
        return answer

    async def text(self, method: str, url: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        """The status and the whole body."""
        answer = await self.respond(method, url, body, **headers)
        if isinstance(answer.body, bytes):
            return answer.status, answer.body
        return answer.status, b"".join([piece async for piece in answer.body])

    async def ask(self, method: str, url: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The status and the JSON of the body."""
        status, data = await self.text(method, url, body, **headers)
        return status, json.loads(data)

    async def get(self, url: str, **headers: str) -> Any:
        status, found = await self.ask("GET", url, **headers)
        assert status == 200, found
        return found

    @asynccontextmanager
    async def watch(self, url: str, **headers: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """The events of a watch, one by one."""
        answer = await self.respond("GET", url, **headers)
        assert answer.status == 200
        assert not isinstance(answer.body, bytes)
        chunks = answer.body

        async def events() -> AsyncIterator[dict[str, Any]]:
            async for chunk in chunks:
                for line in chunk.splitlines():
                    yield json.loads(line)

        try:
            yield events()
        finally:
            await chunks.aclose()
