"""exec, attach, port-forward and logs of pods, and the proxies of pods, nodes and Services, as the REST API answers them.

The modules that carry streams are imported with the first of them: an idle control plane does without.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from controlplane.http.messages import TEXT, Request, Response, Upgrade
from controlplane.rest.paths import PROXY, Target
from controlplane.rest.streams.interface import StreamRequest, StreamRouter
from controlplane.store import Store
from pinnace.clock import Clock

if TYPE_CHECKING:
    from controlplane.rest.proxy.proxies import Proxies
    from controlplane.rest.streams.endpoint import StreamEndpoint

# Seconds that one piece of a log may take to leave: a pager reads when its user does.
PATIENCE = 3600.0


class PodStreams:
    def __init__(self, store: Store, router: StreamRouter, clock: Clock) -> None:
        self._store = store
        self._router = router
        self._clock = clock

    @cached_property
    def _endpoint(self) -> StreamEndpoint:
        from controlplane.rest.streams.endpoint import StreamEndpoint

        return StreamEndpoint(self._store, self._router, self._clock)

    @cached_property
    def _proxies(self) -> Proxies:
        from controlplane.rest.proxy.proxies import Proxies

        return Proxies(self._store, self._router, self._endpoint)

    async def respond(self, request: Request, target: Target) -> Response | Upgrade:
        """Raises ApiError."""
        if target.subresource == PROXY:
            return await self._proxies.respond(request, target)
        asked = StreamRequest(request.method, target.namespace, target.name, target.subresource, request.query, request.headers)
        if target.subresource != "log":
            return self._endpoint.upgrade(asked)
        chunks = self._endpoint.logs(asked)
        # Up to here it is an error response, and a generator that has begun can be closed.
        await anext(chunks)
        return Response(chunks, TEXT, patience=PATIENCE)
