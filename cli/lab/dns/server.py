"""The lab's side of the forwarder: queries over UDP and TCP, with bounds that no pod can exceed for the others.

Nodes masquerade their pods, so a client is a node: one of them can take its share of what is under way, not all.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import cast

from cli.lab.dns import messages

# Queries and TCP connections at once, and those of one client. Beyond: not answered, so that clients try again later.
MAX_QUERIES, MAX_QUERIES_EACH = 512, 128
MAX_CONNECTIONS, MAX_CONNECTIONS_EACH = 128, 32
# Seconds that a connection may be idle, and that a client may take to accept a response (RFC 7766, 6.2.3).
IDLE = 10.0

Resolve = Callable[[bytes, bool], Awaitable[bytes]]


class Shares:
    """Counts what is under way, in all and by client."""

    def __init__(self, most: int, each: int) -> None:
        self._most, self._each = most, each
        self._taken: Counter[str] = Counter()

    def full(self, client: str) -> bool:
        return self._taken.total() >= self._most or self._taken[client] >= self._each

    @contextmanager
    def taken(self, client: str) -> Iterator[None]:
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]


class Server(asyncio.DatagramProtocol):
    """`resolve` gets a query and whether it came by TCP, and returns the response."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._queries = Shares(MAX_QUERIES, MAX_QUERIES_EACH)
        self._connections = Shares(MAX_CONNECTIONS, MAX_CONNECTIONS_EACH)
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None

    async def serve(self, udp: socket.socket, tcp: socket.socket) -> None:
        """Until cancelled, on sockets that are bound; `tcp` listens."""
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=udp)
        try:
            async with await asyncio.start_server(self._connected, sock=tcp, limit=messages.MAX_SIZE) as server:
                await server.serve_forever()
        finally:
            transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if self._queries.full(address[0]):
            return
        task = asyncio.get_running_loop().create_task(self._datagram(data, address))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _datagram(self, data: bytes, address: tuple[str, int]) -> None:
        with self._queries.taken(address[0]):
            response = await self._answer(data, tcp=False)
        if response and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(response, address)

    async def _answer(self, query: bytes, *, tcp: bool) -> bytes:
        """Empty for what deserves no answer."""
        code = messages.refusal(query)
        if code is None:
            return await self._resolve(query, tcp)
        return b"" if code < 0 else messages.failure(query, code)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = str(writer.get_extra_info("peername")[0])
        try:
            if not self._connections.full(client):
                with self._connections.taken(client):
                    await self._converse(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            await _close(writer)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One query after another."""
        while True:
            async with asyncio.timeout(IDLE):
                size = int.from_bytes(await reader.readexactly(2), "big")
                query = await reader.readexactly(size)
            response = await self._answer(query, tcp=True)
            if not response:
                return
            writer.write(len(response).to_bytes(2, "big") + response)
            async with asyncio.timeout(IDLE):
                await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Let the last response out, but wait for no client that does not read."""
    try:
        writer.close()
        async with asyncio.timeout(IDLE):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        writer.transport.abort()
