"""Pages of HTML through the proxy of a pod: their links lead below the proxy, whatever else a pod sends passes as it is."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from tests.support import proxied
from tests.support.front import Front
from tests.support.podserver import Exchange, PodServer
from tests.support.proxied import path
from tests.support.rest import Rest

rest, api, server = proxied.rest, proxied.api, proxied.server
HTML = "Content-Type: text/html; charset=utf-8"
PAGE = b"<title>x</title><a href='/next?a=1&amp;b=2'>\xc3\xa9</a><img src=logo.png><script src=/s.js>'<a href=/n>'</script>"


def replying(server: PodServer, body: bytes, *headers: str, status: str = "200 OK") -> None:
    """What the server sends from here on."""

    async def serve(exchange: Exchange) -> None:
        server.requests.append((await exchange.head(), await exchange.body()))
        await exchange.reply(body, *headers, status=status)

    server.serve = serve


async def test_links_of_a_page_lead_below_the_proxy(api: Front, server: PodServer) -> None:
    """Those to a path of the pod; the length and the digests of what the pod sent do not hold any more."""
    replying(server, PAGE, HTML, "Digest: x", "Accept-Ranges: bytes", 'ETag: "a"', status="404 Not Found")
    answer = await api.ask("GET", path(server, "/a/b"))
    base = path(server, "").encode()
    expected = PAGE.replace(b"'/next", b"'%s/next" % base).replace(b"=/s.js", b"=%s/s.js" % base)
    assert (answer.status, answer.body, answer.whole) == (404, expected, True)
    assert {name for name, _ in answer.headers} == {"content-type", "etag", "transfer-encoding"}


async def test_links_to_the_pod_by_its_address_and_by_the_name_of_the_api_are_its_own(api: Front, server: PodServer) -> None:
    """Those to others are not, however they are written."""
    base = path(server, "")
    for given, expected in (
        (f"http://web:{server.port}/x", f"{base}/x"), ("https://api.example/x#y", f"{base}/x#y"), ("//api.example/x", f"{base}/x"),
        ("http://elsewhere.example/x", ""), ("//elsewhere.example/x", ""), ("mailto:/x@y", ""), ("#x", ""), ("?a", ""),
        (f"{base}/x", ""), ("http://[/x", ""), ("/", f"{base}/"), ("javascript:x('/y')", ""),
    ):  # fmt: skip
        replying(server, f'<form action="{given}">'.encode(), HTML)
        answer = await api.ask("GET", path(server))
        assert answer.body.decode() == f'<form action="{expected or given}">'


async def test_a_page_comes_while_the_pod_sends_it(api: Front, server: PodServer) -> None:
    """Also of a size that no other request may have, and cut anywhere."""
    goes_on = asyncio.Event()
    rows, row = 20_000, b"<tr><td><a class='row' href='/x'>some text of a row</a></td></tr>\n"

    async def serve(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.send(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n<p>first</p><a hr" % HTML.encode())
        await goes_on.wait()
        await exchange.send(b"ef='/x'>" + row * rows)

    server.serve = serve
    async with api.client() as client:
        await client.begin("GET", path(server))
        await client.end()
        assert b"first" in await client.reader.readuntil(b"</p>")
        goes_on.set()
    answer = asyncio.ensure_future(api.ask("GET", path(server)))
    others = 0
    while not answer.done():
        assert (await api.ask("GET", proxied.PODS)).status == 200
        others += 1
    assert (await answer).body.count(path(server, "/x").encode()) == rows + 1
    assert others > 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["Content-Type: text/plain"], "200 OK"), (["Content-Type: application/javascript"], "200 OK"), ([], "200 OK"),
        ([HTML, "Content-Encoding: br"], "200 OK"), ([HTML, "Content-Range: bytes 0-9/10"], "206 Partial Content"),
        (["Content-Type: text/html; charset=UTF-16LE"], "200 OK"),
    ],
)  # fmt: skip
async def test_what_is_no_page_passes_byte_by_byte(api: Front, server: PodServer, headers: list[str], status: str) -> None:
    """With the length that the pod has said."""
    replying(server, PAGE, *headers, status=status)
    answer = await api.ask("GET", path(server))
    assert (answer.body, answer.header("content-length")) == (PAGE, str(len(PAGE)))


async def test_the_head_of_a_page_has_no_length(api: Front, server: PodServer) -> None:
    """As it would not be that of the page."""

    async def serve(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.send(f"HTTP/1.1 200 OK\r\n{HTML}\r\nContent-Length: 10\r\n\r\n".encode())

    server.serve = serve
    answer = await api.ask("HEAD", path(server, "/x"))
    assert (answer.status, answer.body, answer.header("content-length")) == (200, b"", "")


async def test_a_browser_that_asks_for_a_page_gets_it_uncompressed(api: Front, server: PodServer) -> None:
    """Other requests of it may be answered compressed; such a page is passed on as it is."""

    async def serve(exchange: Exchange) -> None:
        head = await exchange.head()
        server.requests.append((head, b""))
        packed = b"gzip" in dict(head.headers).get(b"accept-encoding", b"")
        await exchange.reply(gzip.compress(PAGE) if packed else PAGE, HTML, *(["Content-Encoding: gzip"] if packed else []))

    server.serve = serve
    answer = await api.ask("GET", path(server), Accept="text/html,*/*;q=0.8", Accept_Encoding="gzip, br")
    assert (server.headers()["accept-encoding"], answer.header("content-encoding")) == ("identity", "")
    assert path(server, "/next").encode() in answer.body
    answer = await api.ask("GET", path(server), Accept="*/*", Accept_Encoding="gzip")
    assert (server.headers()["accept-encoding"], gzip.decompress(answer.body)) == ("gzip", PAGE)


async def test_a_page_that_breaks_off_does_so_for_the_client(api: Front, server: PodServer, rest: Rest) -> None:
    """Nothing is left of the request."""

    async def serve(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.send(f"HTTP/1.1 200 OK\r\n{HTML}\r\nContent-Length: 100\r\n\r\n<a href=/x".encode())

    server.serve = serve
    answer = await api.ask("GET", path(server))
    assert (answer.status, answer.whole) == (200, False)
    assert rest.router.open == 0
