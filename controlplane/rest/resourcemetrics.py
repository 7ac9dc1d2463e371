"""metrics.k8s.io: NodeMetrics and PodMetrics, made from the statistics of nodes when a client asks. A `virtual.Source`."""

from __future__ import annotations

from typing import Any

from controlplane.http.messages import Request, Response
from controlplane.requests.selection import Selection
from controlplane.resources.registry import Registry
from controlplane.resources.resource import Resource
from controlplane.resources.resourcemetrics import MEASURED, Measured, metadata
from controlplane.rest.options import ListOptions
from controlplane.rest.paths import Target
from controlplane.rest.rendering import ListMeta, Renderer
from controlplane.rest.statistics import Statistics
from controlplane.store import Store
from controlplane.turns import Turns
from pinnace import selectors
from pinnace.clock import Clock
from pinnace.errors import MethodNotAllowed, NotFound

_BY_PLURAL = {(item.resource.kind.api_version, item.resource.kind.plural): item for item in MEASURED}


class ResourceMetrics:
    def __init__(self, store: Store, statistics: Statistics, clock: Clock) -> None:
        self._store = store
        self._registry = Registry.of(store)
        self._statistics = statistics
        self._clock = clock
        self._turns = Turns()

    def resource(self, target: Target) -> Resource | None:
        found = _BY_PLURAL.get((target.api_version, target.resource))
        return None if found is None or target.subresource else found.resource

    async def respond(self, request: Request, target: Target, resource: Resource, verb: str) -> Response:
        """Raises NotFound also for an object that its node has not measured, MethodNotAllowed, BadRequest."""
        if verb not in resource.verbs:
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        measured = _BY_PLURAL[target.api_version, target.resource]
        renderer = Renderer.of(request, resource, self._clock.now())
        wanted = ListOptions.of(request, watch=False)
        # Selectors may name the fields of metrics, which are fewer than those of what is measured.
        selectors.parse_fields(resource.kind.kind, wanted.fields, resource.fields)
        labels, fields = (wanted.labels, wanted.fields) if verb == "list" else ("", "")
        of = self._registry.resource(measured.of)
        selection = Selection(of, namespace=target.namespace, name=target.name, labels=labels, fields=fields)
        found = await self._measure(measured, selection)
        if verb == "list":
            return Response(renderer.list_of(found, ListMeta()), renderer.form.content_type)
        if not found:
            kind = f"{resource.kind.singular}.{resource.kind.group}"
            raise NotFound(f'{kind} "{target.name[:253]}" not found', kind=kind, name=target.name)
        return Response(renderer.object(found[0]), renderer.form.content_type)

    async def _measure(self, measured: Measured[Any], selection: Selection) -> list[Any]:
        """Metrics of the selected objects in the order of their keys, without those that no node has measured."""
        page = await self._store.page(selection.query(0, size=1 << 62))
        items = [(row.message, measured.node(row.message)) for row in page.rows]
        samples = await self._statistics.of({node for _, node in items if node})
        made, now = [], self._clock.now()
        for item, node in items:
            await self._turns.offer()
            metrics = measured.measure(item, samples[node]) if node in samples else None
            if metrics is not None:
                metrics.metadata.CopyFrom(metadata(item, now))
                made.append(metrics)
        return made
