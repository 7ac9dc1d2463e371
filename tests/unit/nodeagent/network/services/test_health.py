"""Health checks of load balancers over HTTP."""

from __future__ import annotations

import asyncio
import json
import socket

from nodeagent.network.services.health import HealthServer
from nodeagent.network.services.table import Health


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def ask(port: int, source: str = "127.0.0.1") -> tuple[str, dict[str, str], bytes]:
    """Status line, headers and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    writer.write(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    status, *lines = head.decode().split("\r\n")
    return status, dict(line.split(": ", 1) for line in lines), body


async def test_the_answer_is_that_of_kube_proxy() -> None:
    """It follows the number of endpoints."""
    server, port = HealthServer(), free_port()
    await server.set([Health(port, "default", "web", 2)])
    status, headers, body = await ask(port)
    assert status == "HTTP/1.1 200 OK"
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Load-Balancing-Endpoint-Weight"] == "2"
    expected = {"service": {"namespace": "default", "name": "web"}, "localEndpoints": 2, "serviceProxyHealthy": True}
    assert json.loads(body) == expected
    await server.set([Health(port, "default", "web", 0)])
    assert (await ask(port))[0] == "HTTP/1.1 503 Service Unavailable"
    await server.close()


async def test_a_service_that_goes_is_no_longer_answered_for() -> None:
    """A port that is taken costs the other ones nothing, and is tried again."""
    server, port, other = HealthServer(), free_port(), free_port()
    with socket.create_server(("127.0.0.1", port)):
        await server.set([Health(port, "default", "web", 1), Health(other, "default", "other", 1)])
        assert (await ask(other))[0] == "HTTP/1.1 200 OK"
    await server.set([Health(port, "default", "web", 1)])
    assert (await ask(port))[0] == "HTTP/1.1 200 OK"
    try:
        await ask(other)
    except ConnectionRefusedError:
        await server.close()
    else:
        raise AssertionError("it still answers")


async def test_clients_that_send_nothing_are_bounded() -> None:
    """In number, of one address and in all: those that wait longest are closed, and others are answered."""
    server, port = HealthServer(), free_port()
    await server.set([Health(port, "default", "web", 1)])
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
    ended = [reader for reader, _ in idle if await quiet(reader)]
    assert ended == [reader for reader, _ in idle[:24]]
    more = [await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0)) for _ in range(16)]
    for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        assert (await ask(port, source))[0] == "HTTP/1.1 200 OK"
    await server.close()
    for _, writer in (*idle, *more):
        writer.close()


async def quiet(reader: asyncio.StreamReader) -> bool:
    """Whether the server has closed it."""
    try:
        async with asyncio.timeout(0.02):
            return await reader.read() == b""
    except TimeoutError:
        return False
