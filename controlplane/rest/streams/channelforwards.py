"""port-forward over a WebSocket's channels: for the i-th port channel 2i has its data and 2i+1 its error.

Each channel begins with the port, two bytes in little-endian order. There is one connection to each port, made at once, and
no half-close: the end of a port ends its connection, and the end of all closes the WebSocket.

Source: the kubelet's pkg/kubelet/cri/streaming/portforward/websocket.go.
"""

from __future__ import annotations

import asyncio

from controlplane.rest.streams import channels, forwarding
from controlplane.rest.streams.inbox import Inbox
from controlplane.rest.streams.interface import NodeStream
from controlplane.rest.streams.websocketconnection import WebSocketConnection


class ChannelForwards:
    def __init__(self, websocket: WebSocketConnection, pod: NodeStream, ports: list[int]) -> None:
        self._websocket = websocket
        self._pod = pod
        self._ports = [_Port(websocket, 2 * index, port) for index, port in enumerate(ports)]

    async def feed(self) -> None:
        """Copy what the client sends, until it closes the WebSocket. Raises OSError."""
        decoder = channels.ChannelDecoder()
        async for piece in self._websocket.pieces():
            found = decoder.decode(piece)
            if found is not None and found.channel % 2 == 0 and found.channel // 2 < len(self._ports):
                await self._ports[found.channel // 2].inbox.feed(found.data)

    async def run(self) -> None:
        """Carry all connections to their ends. Raises OSError."""
        for port in self._ports:
            await port.begin()
        tasks = [asyncio.ensure_future(self._carry(port)) for port in self._ports]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._websocket.close()

    async def _carry(self, port: _Port) -> None:
        try:
            failure = await forwarding.forward(self._pod, port.port, port)
            if failure:
                await self._websocket.send(channels.encode(port.channel + 1, failure.encode()))
        finally:
            port.inbox.abandon()


class _Port:
    """One connection (a `PortClient`)."""

    def __init__(self, websocket: WebSocketConnection, channel: int, port: int) -> None:
        self._websocket = websocket
        self.channel = channel
        self.port = port
        self.inbox = Inbox()

    async def begin(self) -> None:
        for channel in (self.channel, self.channel + 1):
            await self._websocket.send(channels.encode(channel, self.port.to_bytes(2, "little")))

    async def read(self) -> bytes:
        return await self.inbox.take()

    async def write(self, data: bytes) -> None:
        await self._websocket.send(channels.encode(self.channel, data))

    async def finish(self) -> None:
        self.inbox.end()
