"""Proxied requests of clients, and responses of pods, that are made to be misunderstood, to take memory, or to last."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import h11
import pytest

from controlplane.http.messages import Request, Response
from controlplane.rest import paths
from controlplane.rest.proxy.podconnection import Timeouts
from controlplane.rest.proxy.pods import PodProxy
from controlplane.rest.proxy.slots import Slots
from pinnace.errors import ApiError, Timeout, TooManyRequests
from tests.support import objects, proxied
from tests.support.awaiting import eventually
from tests.support.cluster import Cluster
from tests.support.front import Front
from tests.support.podserver import Exchange, PodServer, pod_server
from tests.support.proxied import PODS, path
from tests.support.rest import Rest

rest, api, server = proxied.rest, proxied.api, proxied.server


@pytest.mark.parametrize("framing", [
    b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    b"Content-Length: 4\r\nContent-Length: 5\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"X: a\n\r\nTransfer-Encoding: chunked\r\n",
    b"Content-Length: +4\r\n",
])  # fmt: skip
async def test_requests_that_can_be_read_in_two_ways_do_not_reach_a_pod(api: Front, server: PodServer, framing: bytes) -> None:
    """A second request inside of the body would be the pod's next one."""
    inner = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    head = f"POST {path(server, '/outer')} HTTP/1.1\r\nHost: x\r\n".encode()
    answer = await api.raw(head + framing + b"\r\n0\r\n\r\n" + inner)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501"))
    assert server.requests == []


async def test_what_follows_a_body_is_not_the_pods(api: Front, server: PodServer) -> None:
    """A pod's connection is for one request: the next one of the client is answered by itself."""
    head = f"POST {path(server, '/outer')} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n".encode()
    answer = await api.raw(head + b"bodyGET /smuggled HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert [(found.target, body) for found, body in server.requests] == [(b"/outer", b"body")]
    assert b"404 page not found" in answer


@pytest.mark.parametrize(
    "target", ["/a%0d%0aX-Injected:%20yes", "/%0aGET%20/other", "/..%2f..%2f", "/../../etc", "/%00", "/#x"]
)
async def test_paths_stay_as_they_came(api: Front, server: PodServer, target: str) -> None:
    """Percent-encoded line ends are a part of the path, and dots are the pod's to understand."""
    raw = f"GET {path(server, target)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert b"hello" in await api.raw(raw.encode())
    assert [head.target for head, _ in server.requests] == [target.encode()]
    assert "x-injected" not in server.headers()


@pytest.mark.parametrize("response", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nA B: c\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\nhello",
    b"HTTP/1.1 99 Low\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello",
    b"HTTP/2 200 OK\r\n\r\n",
    b"220 mail.example ESMTP\r\n",
    b"SSH-2.0-OpenSSH_9.9\r\n",
    b"\x15\x03\x01\x00\x02\x02\x46",
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * (200 << 10) + b"\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\nhello",
    b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100 + b"HTTP/1.1 200 OK\r\n\r\nhello",
    b"",
], ids=lambda found: repr(found[:60]))  # fmt: skip
async def test_what_is_no_response_is_an_error(api: Front, server: PodServer, rest: Rest, response: bytes) -> None:
    """Or is not one that two readers understand in the same way. Nothing of it reaches the client."""

    async def serve(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.send(response)

    server.serve = serve
    answer = await api.ask("GET", path(server))
    status = json.loads(answer.body)
    assert (answer.status, status["kind"], status["reason"]) == (503, "Status", "ServiceUnavailable")
    assert status["message"].startswith("error trying to reach service: the pod")
    assert rest.router.open == 0


async def test_a_pod_adds_no_response_of_its_own(api: Front, server: PodServer) -> None:
    """Lines that only look like the end of a head, and bytes behind the body."""

    async def serve(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.send(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nLocation: /a\rb\nX-Second: 1\r\n folded\r\n\r\nok"
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"
        )

    server.serve = serve
    async with api.client() as client:
        first = await client.ask("GET", path(server))
        assert first.status in (200, 503)
        assert all("\r" not in value and "\n" not in value for _, value in first.headers)
        client.http.start_next_cycle()
        second = await client.ask("GET", f"{PODS}/web")
    assert json.loads(second.body)["kind"] == "Pod"


async def test_a_body_of_tiny_chunks_delays_nobody(api: Front, server: PodServer) -> None:
    """Each is parsed apart; other requests have their turn."""
    chunks = 100_000

    async def serve(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * chunks + b"0\r\n\r\n")

    server.serve = serve
    tiny = asyncio.ensure_future(api.ask("GET", path(server)))
    others = 0
    while not tiny.done():
        assert (await api.ask("GET", f"{PODS}/web")).status == 200
        others += 1
    assert (await tiny).body == b"x" * chunks
    assert others > 1


async def test_a_request_of_tiny_chunks_is_passed_on_in_few_pieces(api: Front, server: PodServer, rest: Rest) -> None:
    """Each of which is a message on the way to the node."""
    chunks = 100_000
    async with api.client() as client:
        await client.begin("POST", path(server, "/tiny"), Transfer_Encoding="chunked")
        await client.send(b"1\r\nx\r\n" * chunks + b"0\r\n\r\n")
        client.http.send(h11.EndOfMessage())
        assert (await client.answer()).status == 200
    assert server.requests[0][1] == b"x" * chunks
    assert rest.router.received < chunks // 100


async def call(proxy: PodProxy, server: PodServer, method: str = "GET") -> Response:
    request = Request(method, path(server, "/x"))
    target = paths.parse(request.path)
    assert target is not None
    answer = await proxy.respond(request, target)
    assert isinstance(answer, Response)
    return answer


async def test_a_pod_that_never_answers_is_given_up(rest: Rest, cluster: Cluster, server: PodServer) -> None:
    """With what Kubernetes calls a Timeout."""

    async def serve(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    server.serve = serve
    proxy = PodProxy(cluster.store, rest.router, Slots(), Timeouts(head=0.2))
    with pytest.raises(Timeout, match="no response within"):
        await call(proxy, server)
    assert rest.router.open == 0


async def test_a_pod_that_falls_silent_is_given_up(rest: Rest, cluster: Cluster, server: PodServer) -> None:
    """In the middle of its response."""

    async def serve(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.send(b"HTTP/1.1 200 OK\r\n\r\nfirst")
        await asyncio.Event().wait()

    server.serve = serve
    proxy = PodProxy(cluster.store, rest.router, Slots(), Timeouts(silence=1.0))
    answer = await call(proxy, server)
    assert not isinstance(answer.body, bytes)
    assert await anext(answer.body) == b"first"
    with pytest.raises(ConnectionAbortedError):
        await anext(answer.body)
    assert rest.router.open == 0


async def test_a_pod_that_reads_nothing_is_given_up(rest: Rest, cluster: Cluster, server: PodServer) -> None:
    """While the client has more to send."""

    async def serve(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 16)

    server.serve = serve
    proxy = PodProxy(cluster.store, rest.router, Slots(), Timeouts(take=0.5))
    request = Request("POST", path(server, "/x"), headers={"transfer-encoding": ["chunked"]}, incoming=endless())
    target = paths.parse(request.path)
    assert target is not None
    with pytest.raises(Timeout, match="does not read"):
        await proxy.respond(request, target)
    assert rest.router.open == 0


async def test_a_client_that_breaks_off_its_request_ends_it(api: Front, server: PodServer, rest: Rest) -> None:
    """In the middle of a body, which the pod then does not get as a whole one."""
    heads: list[bytes] = []

    async def serve(exchange: Exchange) -> None:
        heads.append((await exchange.head()).target)
        await exchange.body()
        heads.append(b"whole")

    server.serve = serve
    async with api.client() as client:
        await client.begin("POST", path(server, "/upload"), Transfer_Encoding="chunked")
        await client.piece(b"half")
        await eventually(lambda: heads)
    await eventually(lambda: (server.connections, rest.router.open) == (0, 0))
    assert heads == [b"/upload"]
    answer = await api.raw(
        f"POST {path(server, '/bad')} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalfnonsense".encode()
    )
    assert answer.startswith(b"HTTP/1.1 400")
    await eventually(lambda: (server.connections, rest.router.open) == (0, 0))
    assert b"whole" not in heads


async def test_open_requests_are_bounded_for_each_user_and_for_all(rest: Rest, cluster: Cluster, server: PodServer) -> None:
    """A place is free again when a response has ended, was closed, or was never begun."""
    proxy = PodProxy(cluster.store, rest.router, Slots(per_user=2))
    held = [await call(proxy, server) for _ in range(2)]
    with pytest.raises(TooManyRequests) as refused:
        await call(proxy, server)
    assert refused.value.retry_after
    for answer in held:
        assert not isinstance(answer.body, bytes)
        await answer.body.aclose()
    await server.end()
    async with pod_server() as gone:
        pass
    for _ in range(3):
        with pytest.raises(ApiError, match="error trying to reach service"):
            await call(proxy, gone)
    assert (await call(proxy, server)).status == 200
    with pytest.raises(TooManyRequests):
        slots = Slots(total=1)
        with slots.taken("a"), slots.taken("b"):
            pass


@pytest.mark.parametrize(
    "name", ["web:x", "web:0", "web:65536", "web:-1", "ftp:web:80", "a:b:c:d", ":80", "http::80", "web:\uff18"]
)
async def test_names_that_are_none(rest: Rest, name: str) -> None:
    """As Kubernetes reads them, and ports that are numbers."""
    status, found = await rest.ask("GET", f"{PODS}/{name}/proxy/")
    assert (status, found["reason"]) == (400, "BadRequest")


async def test_a_pod_of_the_host_leads_to_its_own_ports_alone(rest: Rest, cluster: Cluster, server: PodServer) -> None:
    """Whatever else listens on the node is not the pod's."""
    declared = objects.container(ports=[{"containerPort": server.port}])
    await cluster.create(objects.pod("host", declared, nodeName="n1", hostNetwork=True))
    proxy = PodProxy(cluster.store, rest.router, Slots())
    for name, port in (("host", ""), ("host", f":{server.port}")):
        request = Request("GET", f"{PODS}/{name}{port}/proxy/")
        target = paths.parse(request.path)
        assert target is not None
        answer = await proxy.respond(request, target)
        assert isinstance(answer, Response)
        assert answer.status == 200
        assert not isinstance(answer.body, bytes)
        await answer.body.aclose()
    status, found = await rest.ask("GET", f"{PODS}/host:22/proxy/")
    assert (status, found["message"]) == (400, "pod host is in the host's network: no container of it declares port 22")


async def test_the_status_of_a_pod_leads_nowhere(rest: Rest, cluster: Cluster, server: PodServer) -> None:
    """A node may report any address: it is a header, and is not connected to. What is no address is not stored."""
    for address, expected in (("e.example/\r\nX: y", 422), ("169.254.169.254", 200)):
        patch = {"status": {"podIP": address}}
        status, _ = await rest.ask("PATCH", f"{PODS}/web/status", patch, content_type="application/merge-patch+json")
        assert status == expected
    answer = await call(PodProxy(cluster.store, rest.router, Slots()), server)
    assert answer.status == 200
    assert not isinstance(answer.body, bytes)
    await answer.body.aclose()
    assert server.headers()["host"] == f"169.254.169.254:{server.port}"
    assert {node for node, _ in rest.router.openings} == {"n1"}
