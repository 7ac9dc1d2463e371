"""services/proxy: a request is passed on to a pod behind a Service, as by pods/proxy.

An endpoint that is no pod of the Service's namespace is not reached: the agent of the pod makes the connection, and a user who
may write EndpointSlices could have the control plane connect anywhere.

Source: ResourceLocation of pkg/registry/core/service/storage.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from controlplane.http.messages import Request, Response, Upgrade
from controlplane.resources.endpointslice import BY_SERVICE
from controlplane.rest.paths import Target
from controlplane.rest.proxy import names
from controlplane.rest.proxy.pods import PodProxy
from controlplane.store import Store
from pinnace import kinds
from pinnace.core.v1.service_pb2 import Service
from pinnace.discovery.v1.endpointslice_pb2 import Endpoint
from pinnace.errors import Unavailable


class _Place(NamedTuple):
    pod: str
    port: int


class ServiceProxy:
    def __init__(self, store: Store, pods: PodProxy) -> None:
        self._store = store
        self._pods = pods
        # Requests take turns among the pods.
        self._turn = itertools.count()

    async def respond(self, request: Request, target: Target) -> Response | Upgrade:
        """Raises ApiError."""
        wanted = names.split(target.name, "service")
        service = self._store.get(kinds.SERVICE, target.namespace, wanted.name)
        found = list(self._places(service, _port_name(service, wanted.port)))
        if not found:
            raise Unavailable(f'no endpoints available for service "{target.name[:300]}"')
        place = found[next(self._turn) % len(found)]
        return await self._pods.respond(request, replace(target, name=f"{wanted.scheme}:{place.pod}:{place.port}"))

    def _places(self, service: Service, port: str) -> Iterator[_Place]:
        """Pods that are ready, with the port that has this name in the Service."""
        meta = service.metadata
        for row in self._store.rows_by(kinds.ENDPOINT_SLICE, BY_SERVICE, f"{meta.namespace}/{meta.name}"):
            numbers = [item.port for item in row.message.ports if item.name == port and item.port]
            for endpoint in row.message.endpoints if numbers else ():
                if self._is_pod(endpoint, meta.namespace):
                    yield _Place(endpoint.targetRef.name, numbers[0])

    def _is_pod(self, endpoint: Endpoint, namespace: str) -> bool:
        """Whether the endpoint is ready, and a pod that has its address."""
        ready, reference = endpoint.conditions.ready or not endpoint.conditions.HasField("ready"), endpoint.targetRef
        if not ready or reference.kind != kinds.POD.kind or reference.namespace != namespace:
            return False
        row = self._store.row(kinds.POD, kinds.POD.key(namespace, reference.name))
        return row is not None and any(item.ip in endpoint.addresses for item in row.message.status.podIPs)


def _port_name(service: Service, text: str) -> str:
    """A port of the Service by number or name; without one, the port without a name. Raises Unavailable."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        return text
    for port in service.spec.ports:
        if port.port == int(text):
            return port.name
    raise Unavailable(f'no service port {int(text)} found for service "{service.metadata.name}"')
