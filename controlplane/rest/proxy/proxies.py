"""The proxy subresources by resource."""

from __future__ import annotations

from controlplane.http.messages import Request, Response, Upgrade
from controlplane.rest.paths import Target
from controlplane.rest.proxy.nodes import NodeProxy
from controlplane.rest.proxy.pods import PodProxy
from controlplane.rest.proxy.services import ServiceProxy
from controlplane.rest.proxy.slots import Slots
from controlplane.rest.streams.endpoint import StreamEndpoint
from controlplane.rest.streams.interface import StreamRouter
from controlplane.store import Store
from pinnace import kinds


class Proxies:
    def __init__(self, store: Store, router: StreamRouter, endpoint: StreamEndpoint) -> None:
        slots = Slots()
        self._pods = PodProxy(store, router, slots)
        self._nodes = NodeProxy(store, router, endpoint, slots)
        self._services = ServiceProxy(store, self._pods)

    async def respond(self, request: Request, target: Target) -> Response | Upgrade:
        """Raises ApiError."""
        if target.resource == kinds.NODE.plural:
            return await self._nodes.respond(request, target)
        if target.resource == kinds.SERVICE.plural:
            return await self._services.respond(request, target)
        return await self._pods.respond(request, target)
