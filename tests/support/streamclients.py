"""Clients of upgraded connections, a frame at a time: what kubectl and Python's clients do, and what they never would."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong

from controlplane.rest.streams import spdyframes as frames
from tests.support.spdyclient import SpdyClient
from tests.support.streamserver import StreamServer

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
# Seconds of real time that anything may take.
WITHIN = 20.0


class Wire:
    """A connection after its request: status, headers and bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self.reader = reader
        self.writer = writer
        lines = head.split("\r\n")
        self.code = int(lines[0].split()[1])
        self.headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)

    @classmethod
    async def open(
        cls, server: StreamServer, target: str, headers: Iterable[tuple[str, str]], *, method: str = "GET", early: bytes = b""
    ) -> Wire:
        """`target` after the pod's path, such as exec?command=cat; `early` bytes are sent with the request."""
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        server.clients.append(writer)
        lines = [f"{method} /api/v1/namespaces/default/pods/web/{target} HTTP/1.1", "Host: x"]
        lines += [f"{name}: {value}" for name, value in headers]
        writer.write("\r\n".join([*lines, "", ""]).encode() + early)
        async with asyncio.timeout(WITHIN):
            head = await reader.readuntil(b"\r\n\r\n")
        return cls(reader, writer, head.decode())

    async def body(self) -> Any:
        async with asyncio.timeout(WITHIN):
            return json.loads(await self.reader.readexactly(int(self.headers["content-length"])))

    async def ended(self) -> bytes:
        """All bytes until the server closes."""
        async with asyncio.timeout(WITHIN):
            return await self.reader.read()

    def vanish(self) -> None:
        """Reset the connection, as the kernel does for a process that was killed with bytes unread."""
        self.writer.transport.abort()


class Spdy:
    """`send` carries bytes, `receive` returns some, b"" at the end: a connection's, or a tunnel's."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]], receive: Callable[[], Awaitable[bytes]]) -> None:
        self.client = SpdyClient()
        self.send = send
        self._receive = receive
        self.data: dict[int, bytes] = defaultdict(bytes)
        self.finished: set[int] = set()
        self.resets: dict[int, int] = {}
        self.accepted: set[int] = set()
        self.pongs: list[int] = []
        # Status of GOAWAY.
        self.away: int | None = None
        self.closed = False

    @classmethod
    async def open(cls, server: StreamServer, target: str, *versions: str, early: bytes = b"") -> tuple[Spdy, Wire]:
        headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "SPDY/3.1"),
            *(("X-Stream-Protocol-Version", item) for item in versions),
        ]
        wire = await Wire.open(server, target, headers, method="POST", early=early)
        assert wire.code == 101, await wire.body()

        async def send(data: bytes) -> None:
            wire.writer.write(data)
            await wire.writer.drain()

        return cls(send, lambda: wire.reader.read(1 << 16)), wire

    async def stream(self, **headers: str) -> int:
        stream, data = self.client.open(headers)
        await self.send(data)
        return stream

    async def streams(self, *types: str) -> list[int]:
        return [await self.stream(streamtype=type_) for type_ in types]

    async def write(self, stream: int, data: bytes, *, fin: bool = False) -> None:
        await self.send(frames.data(stream, data, fin=fin))

    async def until(self, check: Callable[[Spdy], Any]) -> None:
        """Receive until `check` is true, or the connection ends."""
        async with asyncio.timeout(WITHIN):
            while not check(self) and not self.closed:
                self._take(await self._receive())
        assert check(self), (dict(self.data), self.finished, self.resets, self.away)

    def _take(self, data: bytes) -> None:
        self.closed = not data
        for frame in self.client.read(data):
            match frame:
                case ("DATA", int(stream), bytes(payload), fin):
                    self.data[stream] += payload
                    if fin:
                        self.finished.add(stream)
                case ("SYN_REPLY", int(stream), _):
                    self.accepted.add(stream)
                case ("RST_STREAM", int(stream), int(status)):
                    self.resets[stream] = status
                case ("GOAWAY", _, int(status)):
                    self.away = status
                case ("PING", int(number)):
                    self.pongs.append(number)


class WebSocket:
    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.peer = Connection(ConnectionType.CLIENT)
        self.channels: dict[int, bytearray] = defaultdict(bytearray)
        # Messages as they came.
        self.messages: list[bytes] = []
        self.pongs = 0
        self._partial = b""
        self.close_code: int | None = None

    @classmethod
    async def open(cls, server: StreamServer, target: str, protocol: str = "") -> WebSocket:
        wire = await Wire.open(server, target, handshake(protocol))
        assert wire.code == 101, await wire.body()
        return cls(wire)

    async def send(self, event: Event) -> None:
        self.wire.writer.write(self.peer.send(event))
        await self.wire.writer.drain()

    async def write(self, channel: int, data: bytes) -> None:
        await self.send(BytesMessage(data=bytes((channel,)) + data))

    async def until(self, check: Callable[[WebSocket], Any]) -> None:
        """Receive until `check` is true, or the WebSocket ends."""
        async with asyncio.timeout(WITHIN):
            while not check(self) and self.close_code is None:
                data = await self.wire.reader.read(1 << 16)
                if not data:
                    break
                self.peer.receive_data(data)
                for event in self.peer.events():
                    self._take(event)
        assert check(self), (dict(self.channels), self.close_code)

    def _take(self, event: Event) -> None:
        match event:
            case BytesMessage(data=data, message_finished=last):
                self._partial = self._partial + bytes(data)
                if last:
                    message, self._partial = self._partial, b""
                    self.messages.append(message)
                    self.channels[message[0]] += message[1:]
            case Pong():
                self.pongs += 1
            case Ping():
                raise AssertionError("the server sends no pings")
            case CloseConnection(code=code):
                self.close_code = int(code)

    async def end(self) -> Any:
        """Receive until the server closes; the Status of channel 3."""
        await self.until(lambda ws: ws.close_code is not None)
        await self.send(CloseConnection(code=1000))
        assert self.close_code == 1000
        return json.loads(self.channels[3])

    def tunnel(self) -> Spdy:
        """SPDY in binary messages, of which the server's are bytes as they come."""
        taken = 0

        async def send(data: bytes) -> None:
            await self.send(BytesMessage(data=data))

        async def receive() -> bytes:
            nonlocal taken
            before = taken
            await self.until(lambda ws: len(ws.messages) > before or ws.close_code is not None)
            data = b"".join(self.messages[before:])
            taken = len(self.messages)
            return data

        return Spdy(send, receive)


def handshake(protocol: str) -> list[tuple[str, str]]:
    """The headers of an opening handshake."""
    named = [("Sec-WebSocket-Protocol", protocol)] if protocol else []
    return [
        ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", KEY), ("Sec-WebSocket-Version", "13"), *named,
    ]  # fmt: skip
