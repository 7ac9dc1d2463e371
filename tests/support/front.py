"""The HTTPS port over a real socket, in this process, and a client of it that shows what was sent byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h11

from controlplane.http.listener import Limits, Listener
from controlplane.http.server import Application, Web
from pinnace import pki
from pinnace.clock import SystemClock

CA = pki.new_ca(time.time())


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    # Whether the body ended as its framing says.
    whole: bool

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")


@dataclass(slots=True)
class Client:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    http: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def begin(self, method: str, path: str, *, length: int = -1, **headers: str) -> None:
        """The head of a request; `length` of a body that follows, -1 for none or one in chunks."""
        sent = [("Host", "api.example"), *((name.replace("_", "-"), value) for name, value in headers.items())]
        if length >= 0:
            sent.append(("Content-Length", str(length)))
        await self.send(self.http.send(h11.Request(method=method, target=path, headers=sent)) or b"")

    async def piece(self, data: bytes) -> None:
        await self.send(self.http.send(h11.Data(data=data)) or b"")

    async def end(self) -> None:
        await self.send(self.http.send(h11.EndOfMessage()) or b"")

    async def event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            try:
                data = await self.reader.read(1 << 16)
            except OSError:
                data = b""
            self.http.receive_data(data)
        return event

    async def head(self) -> h11.Response:
        while not isinstance(event := await self.event(), h11.Response):
            assert isinstance(event, h11.InformationalResponse), event
        return event

    async def answer(self) -> Answer:
        head, body, whole = await self.head(), bytearray(), False
        try:
            while isinstance(event := await self.event(), h11.Data):
                body += event.data
            whole = isinstance(event, h11.EndOfMessage)
        except h11.RemoteProtocolError:
            pass
        headers = [(name.decode(), value.decode("latin-1")) for name, value in head.headers]
        return Answer(head.status_code, headers, bytes(body), whole)

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        await self.begin(method, path, length=len(body) if body or method in ("POST", "PUT", "PATCH") else -1, **headers)
        if body:
            await self.piece(body)
        await self.end()
        return await self.answer()

    def close(self) -> None:
        self.writer.transport.abort()


class Front:
    def __init__(self, port: int, tls: ssl.SSLContext) -> None:
        self.port = port
        self._tls = tls

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, ssl=self._tls, server_hostname=pki.SERVER_NAME))
        try:
            yield client
        finally:
            client.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await client.writer.wait_closed()

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """One request on a connection of its own."""
        async with self.client() as client:
            return await client.ask(method, path, body, **headers)

    async def raw(self, request: bytes) -> bytes:
        """All that is answered to these bytes, until the connection is closed."""
        async with self.client() as client:
            await client.send(request)
            return await client.reader.read()


@asynccontextmanager
async def front(folder: Path, application: Application, limits: Limits | None = None) -> AsyncIterator[Front]:
    """A listener for an application. Every client has the same certificate; what it says is for the application to decide."""
    server = _context(folder, "server", ssl.PROTOCOL_TLS_SERVER)
    server.verify_mode = ssl.CERT_OPTIONAL
    listener = Listener(Web(application).handle, lambda: server, SystemClock(), limits or Limits(burst=2000.0))
    await listener.open("127.0.0.1", 0)
    task = asyncio.create_task(listener.serve())
    try:
        yield Front(listener.port, _context(folder, "client", ssl.PROTOCOL_TLS_CLIENT))
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _context(folder: Path, name: str, purpose: int) -> ssl.SSLContext:
    hosts = (pki.SERVER_NAME,) if name == "server" else ()
    pair = pki.issue(CA, pki.SERVER_NAME if hosts else "someone", (), now=time.time(), hosts=hosts)
    made = ssl.SSLContext(purpose)
    made.load_verify_locations(cadata=CA.certificate.decode())
    (folder / f"{name}.pem").write_bytes(pair.key + pair.certificate)
    made.load_cert_chain(folder / f"{name}.pem")
    return made
