"""WebSockets through the proxy of a pod: the pod agrees or not, bytes pass in both directions, and either end ends both."""

from __future__ import annotations

import asyncio

import pytest

from tests.support import proxied
from tests.support.awaiting import eventually
from tests.support.front import Client, Front
from tests.support.podserver import Exchange, PodServer
from tests.support.rest import Rest

rest, api, server = proxied.rest, proxied.api, proxied.server
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSet-Cookie: a=b\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
)


async def echo(exchange: Exchange) -> None:
    """Agrees to switch, sends a greeting behind its head, and gives back what it gets."""
    await exchange.head()
    await exchange.send(SWITCH + b"greeting")
    while data := await exchange.reader.read(1 << 16):
        await exchange.send(data)


def handshake(server: PodServer, *, method: str = "GET", protocol: str = "websocket") -> bytes:
    return (
        f"{method} /api/v1/namespaces/default/pods/web:{server.port}/proxy/chat HTTP/1.1\r\nHost: x\r\n"
        f"Connection: keep-alive, Upgrade\r\nUpgrade: {protocol}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\nCookie: a=b\r\n\r\n"
    ).encode()


async def opened(client: Client, server: PodServer) -> bytes:
    """The head of the answer to a handshake, which was sent together with the first bytes of the client."""
    await client.send(handshake(server) + b"early")
    return await client.reader.readuntil(b"\r\n\r\n")


async def test_bytes_pass_in_both_directions(api: Front, server: PodServer, rest: Rest) -> None:
    """Also those that came together with the heads; cookies do not."""
    server.serve = echo
    async with api.client() as client:
        head = await opened(client, server)
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
        assert b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-protocol: chat\r\n" in head
        assert b"cookie" not in head
        assert await client.reader.readexactly(13) == b"greetingearly"
        content = bytes(range(256)) * 4096
        sending = asyncio.ensure_future(client.send(content))
        assert await client.reader.readexactly(len(content)) == content
        await sending
        assert rest.router.open == 1
    await eventually(lambda: (server.connections, rest.router.open) == (0, 0))


async def test_the_end_of_the_pod_ends_the_client(api: Front, server: PodServer, rest: Rest) -> None:
    """After what the pod has sent."""

    async def serve(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.send(SWITCH + b"bye")

    server.serve = serve
    async with api.client() as client:
        await opened(client, server)
        assert await client.reader.read() == b"bye"
    await eventually(lambda: rest.router.open == 0)


async def test_a_pod_that_does_not_agree_answers(api: Front, server: PodServer) -> None:
    """Its response passes as any other does, and the connection serves further requests."""

    async def serve(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.reply(b"no", status="426 Upgrade Required")

    server.serve = serve
    async with api.client() as client:
        await client.send(handshake(server))
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 426")
        assert await client.reader.readexactly(2) == b"no"
        await client.send(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(("method", "protocol"), [("GET", "h2c"), ("POST", "websocket"), ("GET", "websocket, h2c")])
async def test_no_other_protocol_is_switched_to(api: Front, server: PodServer, method: str, protocol: str) -> None:
    """A right to get would be one to do anything over HTTP/2. The pod gets an ordinary request."""
    async with api.client() as client:
        await client.send(handshake(server, method=method, protocol=protocol))
        head = await client.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert server.headers()["connection"] == "close"
    assert "upgrade" not in server.headers()
