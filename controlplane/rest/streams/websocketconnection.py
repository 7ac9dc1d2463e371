"""A WebSocket for asyncio: pieces of messages in, binary messages out, and a tunnel for bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from controlplane.rest.streams.connection import ClientConnection
from controlplane.rest.streams.interface import CHUNK
from controlplane.rest.streams.websocket import NORMAL, Closed, Piece, ServerWebSocket


class WebSocketConnection:
    """One task iterates over `pieces`; any may send."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._websocket = ServerWebSocket()

    async def pieces(self) -> AsyncIterator[Piece]:
        """Until the client closes the WebSocket or the connection. Raises OSError."""
        while data := await self._connection.read():
            for event in self._websocket.receive(data):
                if isinstance(event, Closed):
                    await self._flush()
                    return
                yield event
            await self._flush()

    async def send(self, data: bytes) -> None:
        """A binary message. Raises OSError."""
        self._websocket.send(data)
        await self._flush()

    async def heartbeat(self) -> None:
        """Keep a client that waits for pongs to pings that are not read. Raises OSError."""
        self._websocket.pong()
        await self._flush()

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Raises OSError."""
        self._websocket.close(code, reason)
        await self._flush()

    async def _flush(self) -> None:
        if data := self._websocket.output():
            await self._connection.write(data)


class Tunnel:
    """A `ByteChannel` of binary messages: their boundaries mean nothing."""

    def __init__(self, websocket: WebSocketConnection) -> None:
        self._websocket = websocket
        self._pieces = websocket.pieces()

    async def read(self) -> bytes:
        async for piece in self._pieces:
            if piece.data:
                return piece.data
        return b""

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), CHUNK):
            await self._websocket.send(data[start : start + CHUNK])
