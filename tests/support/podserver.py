"""A TCP server on this machine's loopback, as the port of a pod that a test plays: what it got, and what it does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h11


@dataclass(slots=True)
class Exchange:
    """One connection to the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    http: h11.Connection = field(default_factory=lambda: h11.Connection(h11.SERVER))

    async def event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.reader.read(1 << 16))
        return event

    async def head(self) -> h11.Request:
        event = await self.event()
        assert isinstance(event, h11.Request), event
        return event

    async def body(self) -> bytes:
        found = bytearray()
        while isinstance(event := await self.event(), h11.Data):
            found += event.data
        return bytes(found)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, body: bytes = b"", *headers: str, status: str = "200 OK") -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode() + body)


Serve = Callable[[Exchange], Awaitable[None]]


class PodServer:
    """`serve` is what it does with a connection; the next test step may change it."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.port = 0
        self.connections = 0
        # Requests that were served by `remember`.
        self.requests: list[tuple[h11.Request, bytes]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.serve(Exchange(reader, writer))
        except (OSError, h11.ProtocolError, asyncio.CancelledError):
            # Of `end`: asyncio's own callback of a connection wants no cancelled task.
            pass
        finally:
            self.connections -= 1
            self._tasks.discard(task)
            writer.close()

    async def end(self) -> None:
        """End the connections that are open."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def remember(self, exchange: Exchange) -> None:
        """Answers every request in the same way."""
        head, body = await exchange.head(), await exchange.body()
        self.requests.append((head, body))
        await exchange.reply(b"" if head.method == b"HEAD" else b"hello\n", "Content-Type: text/plain")

    def headers(self) -> dict[str, str]:
        """Of the last request, by lower-case name."""
        return {name.decode(): value.decode("latin-1") for name, value in self.requests[-1][0].headers}


@asynccontextmanager
async def pod_server(serve: Serve | None = None) -> AsyncIterator[PodServer]:
    """With `remember`, unless it is to do something else."""
    made = PodServer(serve or _nothing)
    if serve is None:
        made.serve = made.remember
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.end()
        with contextlib.suppress(OSError):
            await server.wait_closed()


async def _nothing(exchange: Exchange) -> None:
    raise AssertionError
