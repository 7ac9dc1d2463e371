"""The pages of the HTTPS port (`web` serves them): the CA, health, and metrics."""

from __future__ import annotations

from typing import Any

from prometheus_client import generate_latest

from controlplane import cadvisor, metrics
from controlplane.http.messages import Access, Request, Response, Route
from controlplane.rest import statistics
from controlplane.store import Store
from pinnace import kinds

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def routes(store: Store, switchboard: Any, ca: bytes) -> dict[str, Route]:
    """`ca`: PEM of the cluster's CA."""

    async def authority(request: Request) -> Response:
        return Response(ca, "application/x-pem-file")

    async def health(request: Request) -> Response:
        return Response(b"ok\n")

    async def scrape(request: Request) -> Response:
        metrics.revision.set(store.revision)
        metrics.unreadable.set(len(store.unreadable))
        return Response(generate_latest(metrics.REGISTRY), _PROMETHEUS)

    async def scrape_containers(request: Request) -> Response:
        names = [node.metadata.name for node in store.view(lambda tx: tx.list(kinds.NODE))]
        return Response(cadvisor.render(await statistics.ask(switchboard, names)), _PROMETHEUS)

    return {
        "/ca.pem": Route(Access.PUBLIC, authority),
        "/metrics": Route(Access.AUTHORIZED, scrape),
        "/metrics/cadvisor": Route(Access.AUTHORIZED, scrape_containers),
        **{path: Route(Access.AUTHORIZED, health) for path in ("/healthz", "/readyz", "/livez")},
    }
