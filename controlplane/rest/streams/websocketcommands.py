"""exec and attach over a WebSocket: the channels of `v4.channel.k8s.io` and `v5.channel.k8s.io`."""

from __future__ import annotations

from typing import Any

from controlplane.rest.streams import channels, status
from controlplane.rest.streams.commands import CommandInput
from controlplane.rest.streams.negotiation import V5
from controlplane.rest.streams.websocketconnection import WebSocketConnection

_OUTPUTS = {"stdout": channels.STDOUT, "stderr": channels.STDERR}


class WebSocketCommand:
    """The client's side (a `CommandClient`)."""

    def __init__(self, websocket: WebSocketConnection, protocol: str, incoming: CommandInput) -> None:
        self._websocket = websocket
        self._closable = protocol == V5
        self._incoming = incoming

    async def feed(self) -> None:
        """Copy what the client sends, until it closes the WebSocket. Raises OSError."""
        decoder = channels.ChannelDecoder()
        async for piece in self._websocket.pieces():
            if (found := decoder.decode(piece)) is not None:
                await self._take(found)

    async def _take(self, found: channels.Input) -> None:
        match found.channel:
            case channels.STDIN:
                await self._incoming.stdin(found.data)
            case channels.RESIZE:
                await self._incoming.resize(found.data)
            case channels.CLOSE if self._closable and found.data[0] == channels.STDIN:
                await self._incoming.close_stdin()

    async def output(self, stream: str, data: bytes) -> None:
        await self._websocket.send(channels.encode(_OUTPUTS[stream], data))

    async def end(self, ended: dict[str, Any]) -> None:
        await self._websocket.send(channels.encode(channels.ERROR, status.encoded(ended)))
        await self._websocket.close()
