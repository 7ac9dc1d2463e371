"""nodes/proxy: what there is to read of a node's agent, at the paths of the kubelet's API.

The agent has no port. It measures, lists and reads logs over its streams; the documents are made here. What the kubelet's API
has to run commands, to change its configuration or to read the host's files is not there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from urllib.parse import unquote

from controlplane import cadvisor
from controlplane.access.identity import ANONYMOUS
from controlplane.http.messages import JSON, TEXT, Request, Response
from controlplane.rest.bodies import dumps
from controlplane.rest.options import flag
from controlplane.rest.paths import Target
from controlplane.rest.proxy import kubeletmetrics, names, summary
from controlplane.rest.proxy.slots import Slots, held
from controlplane.rest.streams.endpoint import StreamEndpoint
from controlplane.rest.streams.interface import StreamRequest, StreamRouter
from controlplane.store import Store
from pinnace import codec, errors, kinds, usage
from pinnace.api.v1 import streams_pb2
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.errors import BadRequest, Internal, MethodNotAllowed, NotFound, Timeout, TooLarge

# Seconds for a node to answer, and for a client to take one piece of a log.
WITHIN, PATIENCE = 20.0, 3600.0
# The kubelet's port, which clients may name.
KUBELET = "10250"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_LOGS = "containerLogs"
# Bytes of all pods of a node.
MAX_LIST = 32 << 20
_NOT_FOUND = Response(b"404 page not found\n", status=404)
Page = Callable[[str, Request], Awaitable[Response]]


class NodeProxy:
    def __init__(
        self, store: Store, router: StreamRouter, endpoint: StreamEndpoint, slots: Slots, *, within: float = WITHIN
    ) -> None:
        self._store = store
        self._router = router
        self._endpoint = endpoint
        self._slots = slots
        self._within = within
        self._pages: dict[str, Page] = {
            "healthz": self._health, "healthz/ping": self._health, "pods": self._pods, "stats/summary": self._summary,
            "metrics": self._metrics, "metrics/resource": self._resources, "metrics/cadvisor": self._containers,
            "metrics/dns": self._names,
        }  # fmt: skip

    async def respond(self, request: Request, target: Target) -> Response:
        """Raises ApiError."""
        wanted = names.split(target.name, "node")
        if wanted.port not in ("", KUBELET):
            raise BadRequest(f"node {wanted.name}: only the API of the node's agent is served, not port {wanted.port[:10]}")
        self._store.get(kinds.NODE, "", wanted.name)
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(f"the node's agent has nothing to {request.method[:20]}: it only answers GET")
        async with AsyncExitStack() as until_end:
            until_end.enter_context(self._slots.taken((request.identity or ANONYMOUS).user))
            parts = [unquote(part) for part in target.rest.strip("/").split("/")]
            if parts[0] == _LOGS and len(parts) == 4:
                return await self._logs(wanted.name, request, parts, until_end)
            page = self._pages.get("/".join(parts))
            return _NOT_FOUND if page is None else await self._page(page, wanted.name, request)

    async def _page(self, page: Page, node: str, request: Request) -> Response:
        """Raises ApiError."""
        try:
            async with asyncio.timeout(self._within):
                return await page(node, request)
        except TimeoutError:
            raise Timeout(f'the agent of node "{node}" did not answer within {self._within:.0f} s') from None

    async def _frames(self, opening: streams_pb2.OpenStream) -> AsyncIterator[streams_pb2.Frame]:
        """Raises ApiError, also for an end that the agent gives as one."""
        async with aclosing(self._router.client(opening.node, opening, None)) as frames:
            async for frame in frames:
                if frame.HasField("exit"):
                    if frame.exit.message:
                        raise errors.BY_REASON.get(frame.exit.reason, Internal)(frame.exit.message)
                    return
                yield frame
        raise Internal("lost connection to the node's agent")

    async def _stats(self, node: str, window: int) -> streams_pb2.NodeStats:
        opening = streams_pb2.OpenStream(node=node, stats=streams_pb2.StatsOptions(windowMillis=window))
        found = streams_pb2.NodeStats()
        async for frame in self._frames(opening):
            found = frame.stats
        return found

    async def _list(self, node: str) -> list[Pod]:
        opening = streams_pb2.OpenStream(node=node, listPods=streams_pb2.ListPodsOptions())
        found, size = list[Pod](), 0
        async for frame in self._frames(opening):
            found.append(frame.pod)
            size += frame.pod.ByteSize()
            if size > MAX_LIST:
                raise TooLarge(f"the pods of the node have more than {MAX_LIST} bytes")
        return found

    async def _health(self, node: str, request: Request) -> Response:
        async for _ in self._frames(streams_pb2.OpenStream(node=node, health=streams_pb2.HealthOptions())):
            pass
        return Response(b"ok", TEXT)

    async def _pods(self, node: str, request: Request) -> Response:
        items = []
        for pod in await self._list(node):
            items.append(codec.encode(pod))
            # A hundred pods are many milliseconds.
            await asyncio.sleep(0)
        return Response(dumps({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}), JSON)

    async def _summary(self, node: str, request: Request) -> Response:
        if flag(request, "only_cpu_and_memory"):
            return Response(dumps(summary.document(await self._stats(node, usage.WINDOW))), JSON)
        rates, disks = await asyncio.gather(self._stats(node, usage.WINDOW), self._stats(node, 0))
        return Response(dumps(summary.document(rates, disks)), JSON)

    async def _metrics(self, node: str, request: Request) -> Response:
        pods, network = await asyncio.gather(self._list(node), self._network(node))
        return Response(kubeletmetrics.own(node, pods, network), _PROMETHEUS)

    async def _network(self, node: str) -> streams_pb2.NetworkReport:
        opening = streams_pb2.OpenStream(node=node, verifyNetwork=streams_pb2.VerifyNetworkOptions(countersOnly=True))
        found = streams_pb2.NetworkReport()
        # An agent of an earlier release counts none.
        with contextlib.suppress(BadRequest):
            async for frame in self._frames(opening):
                found = frame.networkReport
        return found

    async def _resources(self, node: str, request: Request) -> Response:
        return Response(kubeletmetrics.resources(await self._stats(node, 0)), _PROMETHEUS)

    async def _containers(self, node: str, request: Request) -> Response:
        return Response(cadvisor.render({node: await self._stats(node, 0)}), _PROMETHEUS)

    async def _names(self, node: str, request: Request) -> Response:
        """Of the node's DNS resolver."""
        text = b""
        async for frame in self._frames(streams_pb2.OpenStream(node=node, dnsMetrics=streams_pb2.DnsMetricsOptions())):
            text += frame.stdout
        return Response(text, _PROMETHEUS)

    async def _logs(self, node: str, request: Request, parts: list[str], until_end: AsyncExitStack) -> Response:
        """containerLogs/NAMESPACE/POD/CONTAINER with the parameters of pods/log."""
        _, namespace, name, container = parts
        pod = self._store.get(kinds.POD, namespace, name)
        if pod.spec.nodeName != node:
            raise NotFound(f'pod "{name}" is not on node "{node}"')
        query = {**request.query, "container": [container]}
        chunks = self._endpoint.logs(StreamRequest(request.method, namespace, name, "log", query, request.headers))
        await anext(chunks)
        chunks = held(chunks, until_end.pop_all())
        await anext(chunks)
        return Response(chunks, TEXT, patience=PATIENCE)
