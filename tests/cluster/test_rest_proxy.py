"""Proxied requests over the whole HTTPS port, to servers that tests play: what passes, what does not, and how it ends."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from controlplane.access.auditlog import Log
from controlplane.access.auditpolicy import Level, Policy, Rule
from controlplane.resources.registry import Registry
from controlplane.rest.auditing import Audited
from tests.support import proxied
from tests.support.awaiting import eventually
from tests.support.cluster import Cluster
from tests.support.front import Front, front
from tests.support.podserver import Exchange, PodServer, pod_server
from tests.support.proxied import PODS, path
from tests.support.rest import Rest

rest, api, server = proxied.rest, proxied.api, proxied.server
CLOSE = "Connection: close\r\n\r\n"


async def test_a_request_goes_to_the_pod_and_its_response_comes_back(api: Front, server: PodServer, rest: Rest) -> None:
    """Method, path and query as they came, of the node that the pod is bound to."""
    answer = await api.ask("GET", path(server, "/a/b%2Fc//d/?x=1&y=%20&x"))
    assert (answer.status, answer.body, answer.header("content-type")) == (200, b"hello\n", "text/plain")
    [(head, body)] = server.requests
    assert (head.method, head.target, body) == (b"GET", b"/a/b%2Fc//d/?x=1&y=%20&x", b"")
    [(node, opening)] = rest.router.openings
    assert (node, opening.pod, opening.namespace, opening.proxyPod.tls) == ("n1", "web", "default", False)
    assert rest.router.open == 0


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
async def test_every_method_passes(api: Front, server: PodServer, method: str) -> None:
    """With a body where the client sends one."""
    body = b"" if method in ("GET", "HEAD", "OPTIONS") else b"some content"
    answer = await api.ask(method, path(server, "/x"), body)
    assert (answer.status, answer.body) == (200, b"" if method == "HEAD" else b"hello\n")
    [(head, sent)] = server.requests
    assert (head.method, sent) == (method.encode(), body)


async def test_credentials_and_claims_do_not_reach_the_pod(api: Front, server: PodServer) -> None:
    """Nor in the spelling that CGI's rules make the same."""
    await api.ask(
        "GET", path(server), Authorization="Bearer secret", Cookie="session=1", Proxy_Authorization="Basic x",
        Impersonate_User="admin", Impersonate_Group="system:masters", Impersonate_Extra_x="1", X_Remote_User="root",
        X_Forwarded_For="192.0.2.9", X_Forwarded_Proto="gopher", Forwarded="for=192.0.2.9", X_Mine="kept", TE="trailers",
        Connection="close, x-named", X_Named="dropped", Keep_Alive="5", Upgrade="h2c",
    )  # fmt: skip
    found = server.headers()
    port = server.port
    assert found == {
        "host": f"web:{port}", "x-mine": "kept", "connection": "close", "x-forwarded-for": "127.0.0.1",
        "x-forwarded-host": "api.example", "x-forwarded-proto": "https", "x-forwarded-uri": path(server),
    }  # fmt: skip
    request = (
        f"GET {path(server)} HTTP/1.1\r\nHost: x\r\nX_Forwarded_For: 1\r\ncontent_length: 5\r\nX_Remote_User: a\r\n{CLOSE}"
    )
    await api.raw(request.encode())
    assert not [name for name in server.headers() if "_" in name]


async def test_a_pod_sets_nothing_for_the_whole_server(api: Front, server: PodServer) -> None:
    """Cookies, policies of the origin and hop-by-hop headers stay behind; the others pass."""

    async def serve(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.reply(
            b"x", "Set-Cookie: a=b", "Strict-Transport-Security: max-age=1", "Access-Control-Allow-Origin: *", "Keep-Alive: 1",
            "Connection: x-hop", "X-Hop: 1", "X-Own: 1", "X-Own: 2", "Content-Type: text/css", "ETag: \"a\"", status="404 Gone",
        )  # fmt: skip

    server.serve = serve
    answer = await api.ask("GET", path(server))
    assert (answer.status, answer.body) == (404, b"x")
    assert sorted(answer.headers) == [
        ("content-length", "1"), ("content-type", "text/css"), ("etag", '"a"'), ("x-own", "1"), ("x-own", "2"),
    ]  # fmt: skip


async def test_redirects_stay_below_the_proxy(api: Front, server: PodServer) -> None:
    """To a path of the pod, or to the pod by its address; not to another host, nor relative ones."""
    base = path(server, "")
    for given, expected in (
        ("/login?a=1#b", f"{base}/login?a=1#b"), (f"http://web:{server.port}/x", f"{base}/x"), ("next", "next"),
        ("http://elsewhere.example/x", "http://elsewhere.example/x"), ("//elsewhere.example/x", "//elsewhere.example/x"),
        (f"{base}/done", f"{base}/done"), ("https://api.example/x?a", f"{base}/x?a"), (f"http://web:{server.port}", f"{base}/"), ("http://[", "http://["),
    ):  # fmt: skip

        async def serve(exchange: Exchange, given: str = given) -> None:
            await exchange.head()
            await exchange.reply(b"", f"Location: {given}", status="302 Found")

        server.serve = serve
        answer = await api.ask("GET", path(server, "/old"))
        assert (answer.status, answer.header("location")) == (302, expected)


async def test_the_root_without_a_slash_redirects(api: Front, server: PodServer) -> None:
    """So that relative links of the first page work. Other methods go to the pod's root."""
    answer = await api.ask("GET", path(server, "") + "?a=1")
    assert (answer.status, answer.header("location")) == (301, f"{path(server)}?a=1")
    answer = await api.ask("GET", "/" + path(server, ""))
    assert answer.header("location") == path(server)
    await api.ask("POST", path(server, ""), b"x")
    assert [head.target for head, _ in server.requests] == [b"/"]


async def test_bodies_of_any_size_pass_in_both_directions(api: Front, server: PodServer) -> None:
    """Of known length and in chunks, larger than any other request may be."""
    size = 8 << 20

    async def serve(exchange: Exchange) -> None:
        head = await exchange.head()
        body = await exchange.body()
        if b"/chunked" in head.target:
            await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for start in range(0, len(body), 100_000):
                piece = body[start : start + 100_000]
                await exchange.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await exchange.send(b"0\r\nX-Trailer: dropped\r\n\r\n")
        elif b"/close" in head.target:
            await exchange.send(b"HTTP/1.0 200 OK\r\n\r\n" + body)
        else:
            await exchange.reply(body)

    server.serve = serve
    content = bytes(range(256)) * (size // 256)
    for rest in ("/plain", "/chunked", "/close"):
        answer = await api.ask("POST", path(server, rest), content)
        assert (answer.status, answer.whole, len(answer.body)) == (200, True, size)
        assert answer.body == content
        assert answer.header("content-length") == (str(size) if rest == "/plain" else "")
    async with api.client() as client:
        await client.begin("PUT", path(server, "/plain"), Transfer_Encoding="chunked")
        for start in range(0, size, 1 << 20):
            await client.piece(content[start : start + (1 << 20)])
        await client.end()
        assert (await client.answer()).body == content


async def test_a_client_that_waits_for_100_continue_gets_it(api: Front, server: PodServer) -> None:
    """From this server: the pod is not asked."""
    async with api.client() as client:
        await client.begin("POST", path(server, "/x"), length=4, Expect="100-continue")
        event = await client.event()
        assert getattr(event, "status_code", 0) == 100
        await client.piece(b"data")
        await client.end()
        assert (await client.answer()).status == 200
    assert server.requests[0][1] == b"data"
    assert "expect" not in server.headers()


async def test_a_client_that_does_not_read_stops_the_pod(api: Front, server: PodServer) -> None:
    """What is on the way is bounded, and arrives once it reads."""
    size, sent = 64 << 20, 0

    async def serve(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.head()
        await exchange.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        while sent < size:
            await exchange.send(bytes(1 << 16))
            sent += 1 << 16

    server.serve = serve
    async with api.client() as client:
        await client.begin("GET", path(server, "/large"))
        await client.end()
        await eventually(lambda: sent > 1 << 20)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.5)
        assert sent < size // 2
        answer = await client.answer()
    assert (answer.whole, len(answer.body)) == (True, size)


async def test_a_pod_that_does_not_read_stops_the_client(api: Front, server: PodServer) -> None:
    """Its connection takes no more until the pod goes on."""
    go_on = asyncio.Event()

    async def serve(exchange: Exchange) -> None:
        await exchange.head()
        await go_on.wait()
        await exchange.reply(str(len(await exchange.body())).encode())

    server.serve = serve
    size, sent = 64 << 20, 0
    async with api.client() as client:

        async def upload() -> None:
            nonlocal sent
            while sent < size:
                await client.piece(bytes(1 << 16))
                sent += 1 << 16
            await client.end()

        await client.begin("POST", path(server, "/upload"), length=size)
        uploading = asyncio.ensure_future(upload())
        await eventually(lambda: sent > 1 << 20)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.5)
        assert sent < size // 2
        go_on.set()
        answer = await client.answer()
        await uploading
    assert answer.body == str(size).encode()


async def test_a_pod_may_answer_before_it_has_read_the_request(api: Front, server: PodServer, rest: Rest) -> None:
    """The rest of the request has nowhere to go, and the connection ends."""

    async def serve(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.reply(b"too much", status="413 Content Too Large")
        # A server that closes at once resets the connection, and that may overtake the response.
        await asyncio.Event().wait()

    server.serve = serve
    async with api.client() as client:
        await client.begin("POST", path(server, "/x"), length=1 << 30)
        await client.piece(bytes(1 << 20))
        answer = await client.answer()
    assert (answer.status, answer.body, answer.whole) == (413, b"too much", True)
    await eventually(lambda: rest.router.open == 0)


async def test_a_refusal_reaches_a_client_that_is_still_sending(api: Front, server: PodServer) -> None:
    """The rest of the body is dropped, and the connection is closed."""
    size = 8 << 20
    for url, code in ((f"{PODS}/none/proxy/x", 404), (path(server, "/x").replace("web", "web:x", 1), 400)):
        async with api.client() as client:
            await client.begin("POST", url, length=size)
            await client.piece(bytes(size))
            answer = await client.answer()
            assert (answer.status, answer.whole, answer.header("connection")) == (code, True, "close")
            assert json.loads(answer.body)["kind"] == "Status"


async def test_a_port_that_refuses_is_unavailable(api: Front, rest: Rest) -> None:
    """With a Status that says why, as Kubernetes has it."""
    async with pod_server() as gone:
        pass
    answer = await api.ask("GET", path(gone))
    status = json.loads(answer.body)
    assert (answer.status, status["reason"], status["code"]) == (503, "ServiceUnavailable", 503)
    assert status["message"].startswith("error trying to reach service: cannot connect")
    assert rest.router.open == 0


async def test_a_pod_that_ends_in_the_middle_cuts_the_response(api: Front, server: PodServer, rest: Rest) -> None:
    """A client sees that something is missing; before the head it gets a Status."""
    for sent in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ):

        async def serve(exchange: Exchange, sent: bytes = sent) -> None:
            await exchange.head()
            await exchange.send(sent)

        server.serve = serve
        answer = await api.ask("GET", path(server))
        assert (answer.status, answer.body, answer.whole) == (200, b"half", False)

    async def close(exchange: Exchange) -> None:
        await exchange.head()

    server.serve = close
    answer = await api.ask("GET", path(server))
    assert (answer.status, json.loads(answer.body)["message"]) == (
        503, "error trying to reach service: the pod closed the connection without a response",
    )  # fmt: skip
    assert rest.router.open == 0


async def test_a_client_that_leaves_ends_the_request(api: Front, server: PodServer, rest: Rest) -> None:
    """While the pod says nothing, and in the middle of a response without end."""

    async def silent(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.reader.read()

    async def endless(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.send(b"HTTP/1.1 200 OK\r\n\r\nfirst")
        await exchange.reader.read()

    for serve in (silent, endless):
        server.serve = serve
        async with api.client() as client:
            await client.begin("GET", path(server))
            await client.end()
            await eventually(lambda: server.connections == 1)
            if serve is endless:
                assert (await client.head()).status_code == 200
        await eventually(lambda: (server.connections, rest.router.open) == (0, 0))


async def test_what_a_pod_did_not_wait_for_is_not_the_next_requests(api: Front, server: PodServer) -> None:
    """A pod that answers at the head of a request, whose body has come as well, on one connection over and over."""

    async def eager(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.reply(b"done")
        await exchange.reader.read()

    for _ in range(10):
        async with api.client() as client:
            server.serve = eager
            first = await client.ask("POST", path(server, "/eager"), b"x" * 1000)
            assert (first.status, first.body) == (200, b"done")
            if first.header("connection") == "close":
                continue
            client.http.start_next_cycle()
            server.serve = server.remember
            assert (await client.ask("POST", path(server, "/next"), b"second")).status == 200
            assert server.requests[-1][1] == b"second"


async def test_a_connection_serves_one_request_after_the_other(api: Front, server: PodServer) -> None:
    """Proxied and not, with and without bodies."""
    async with api.client() as client:
        for _ in range(3):
            assert (await client.ask("POST", path(server, "/x"), b"body")).body == b"hello\n"
            client.http.start_next_cycle()
            assert (await client.ask("GET", f"{PODS}/web")).status == 200
            client.http.start_next_cycle()
    assert len(server.requests) == 3


async def test_requests_are_recorded(rest: Rest, cluster: Cluster, server: PodServer, tmp_path: Path) -> None:
    """With verb and path, also of a client that left before there was an answer; bodies are not."""
    log = Log(tmp_path / "audit.log", Policy((Rule(Level.REQUEST_RESPONSE),)))
    log.open()

    async def silent(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.reader.read()

    async with front(tmp_path, Audited(rest.site, log, Registry.of(cluster.store), cluster.clock, cluster.ids)) as api:
        await api.ask("POST", path(server, "/a?b=c"), b'{"hidden": 1}')
        server.serve = silent
        async with api.client() as client:
            await client.begin("GET", path(server, "/silent"))
            await client.end()
            await eventually(lambda: server.connections)
        await eventually(lambda: not server.connections)
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert [(line["verb"], line["requestURI"], line["responseStatus"]["code"]) for line in lines] == [
        ("create", path(server, "/a?b=c"), 200), ("get", path(server, "/silent"), 499),
    ]  # fmt: skip
    for line in lines:
        assert (line["objectRef"]["resource"], line["objectRef"]["subresource"]) == ("pods", "proxy")
        assert "hidden" not in json.dumps(line)
