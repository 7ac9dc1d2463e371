"""pods/proxy: a request goes on to a port of a pod, over a connection that the pod's agent makes.

Where that connection leads is not for the status to say, which a node reports: the agent of the node that the pod is bound to
connects inside the pod's network namespace, to the pod's own address.

Source: ProxyREST of pods (pkg/registry/core/pod/rest) and UpgradeAwareHandler of k8s.io/apimachinery (pkg/util/proxy).
"""

from __future__ import annotations

import asyncio
import ipaddress
from contextlib import AsyncExitStack, aclosing

import h11

from controlplane import streamtargets
from controlplane.access.identity import ANONYMOUS
from controlplane.http.messages import Chunks, Request, Response, Upgrade
from controlplane.rest.paths import Target
from controlplane.rest.proxy import heads, names
from controlplane.rest.proxy.exchange import Exchange
from controlplane.rest.proxy.heads import Site
from controlplane.rest.proxy.links import Links
from controlplane.rest.proxy.podconnection import PodConnection, Timeouts
from controlplane.rest.proxy.slots import Slots, held
from controlplane.rest.proxy.upgrades import PodUpgrade
from controlplane.rest.streams.interface import NodeStream, StreamRouter
from controlplane.store import Store
from pinnace import kinds
from pinnace.api.v1 import streams_pb2
from pinnace.core.v1.pod_pb2 import Pod

# Seconds that a client may take for one piece of a response.
PATIENCE = 300.0
# Bytes of HTML that are read before other tasks have a turn.
STEP = 16 << 10
DEFAULTS = Timeouts()


class PodProxy:
    def __init__(self, store: Store, router: StreamRouter, slots: Slots, times: Timeouts = DEFAULTS) -> None:
        self._store = store
        self._router = router
        self._slots = slots
        self._times = times

    async def respond(self, request: Request, target: Target) -> Response | Upgrade:
        """Raises ApiError."""
        wanted = names.split(target.name, "pod")
        pod = self._store.get(kinds.POD, target.namespace, wanted.name)
        port = names.port_of(pod, wanted)
        opening = streams_pb2.OpenStream(namespace=target.namespace, pod=wanted.name)
        opening.proxyPod.port, opening.proxyPod.tls = port, wanted.scheme == "https"
        node = streamtargets.locate(self._store, opening, running=True)
        if not target.rest and request.method in ("GET", "HEAD") and not heads.websocket(request):
            return _to_root(request)
        site = Site(_authority(pod, port), _path(request).removesuffix(target.rest), request.header("host"))
        async with AsyncExitStack() as until_end:
            until_end.enter_context(self._slots.taken((request.identity or ANONYMOUS).user))
            exchange = Exchange(PodConnection(NodeStream(self._router, node, opening), self._times), self._times.head)
            until_end.push_async_callback(exchange.close)
            head = await exchange.begin(request, heads.to_pod(request, site), _target(request, target))
            return await _answer(exchange, head, site, until_end)


async def _answer(
    exchange: Exchange, head: h11.Response | h11.InformationalResponse, site: Site, until_end: AsyncExitStack
) -> Response | Upgrade:
    headers = heads.to_client(head.headers, site, status=head.status_code)
    if isinstance(head, h11.InformationalResponse):
        return PodUpgrade(exchange.pod, headers, exchange.switched(), until_end.pop_all())
    page = heads.is_page(head.headers, status=head.status_code)
    chunks = held(_below(exchange.body(), site) if page else exchange.body(), until_end.pop_all())
    await anext(chunks)
    return Response(chunks, "", head.status_code, tuple(headers), patience=PATIENCE)


async def _below(chunks: Chunks, site: Site) -> Chunks:
    """A document of HTML with its links below the proxy."""
    # Each byte is a character of Latin 1, whatever it is in the document's own set.
    links = Links(lambda link: heads.location(link.decode("latin-1"), site).encode("latin-1"))
    async with aclosing(chunks):
        async for piece in chunks:
            for at in range(0, len(piece), STEP):
                if made := links.feed(piece[at : at + STEP]):
                    yield made
                await asyncio.sleep(0)
    if rest := links.end():
        yield rest


def _to_root(request: Request) -> Response:
    """So that relative links of the pod's first page are below the proxy."""
    query = f"?{request.query_string}" if request.query_string else ""
    return Response(b"", "", 301, (("location", f"{_path(request)}/{query}"),))


def _path(request: Request) -> str:
    """With one slash at its beginning: with two it would name a host in a Location."""
    return "/" + request.path.lstrip("/")


def _target(request: Request, target: Target) -> str:
    return (target.rest or "/") + (f"?{request.query_string}" if request.query_string else "")


def _authority(pod: Pod, port: int) -> str:
    """What the pod's server gets as Host. The status is a node's word: what is no address is not passed on."""
    try:
        address = ipaddress.ip_address(pod.status.podIP)
    except ValueError:
        return f"{pod.metadata.name}:{port}"
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
