"""exec and attach over SPDY/3.1: a stream each for errors, input, output and resizes, which the client opens.

Source: k8s.io/client-go's tools/remotecommand, protocols v1 to v5.
"""

from __future__ import annotations

import asyncio
from typing import Any

from controlplane.rest.streams import status
from controlplane.rest.streams.commands import CommandInput
from controlplane.rest.streams.connection import ByteChannel
from controlplane.rest.streams.negotiation import V4, V5
from controlplane.rest.streams.options import CommandOptions
from controlplane.rest.streams.spdyconnection import SpdyConnection, SpdyStream, StreamClosed
from controlplane.rest.streams.spdyframes import Reset

# Streams of one exec, and some that are refused one by one.
MAX_STREAMS = 8
STRUCTURED = (V4, V5)


class SpdyCommand:
    """The client's streams (a `CommandClient`)."""

    def __init__(self, channel: ByteChannel, protocol: str, options: CommandOptions, incoming: CommandInput) -> None:
        self.connection = SpdyConnection(channel, MAX_STREAMS, self._open)
        self._protocol = protocol
        self._incoming = incoming
        self._expected = {"error"} | {name for name in ("stdin", "stdout", "stderr") if getattr(options, name)}
        # A client may leave it out: v1 and v2 have none.
        self._allowed = self._expected | ({"resize"} if options.tty else set())
        self._streams: dict[str, SpdyStream] = {}
        self._complete = asyncio.Event()
        self._resizable = asyncio.Event()

    def _open(self, stream: SpdyStream) -> Reset | None:
        type_ = stream.headers.get("streamtype", "").lower()
        if type_ not in self._allowed or type_ in self._streams:
            return Reset.REFUSED_STREAM
        self._streams[type_] = stream
        if type_ == "resize":
            self._resizable.set()
        elif type_ != "stdin":
            # The client sends nothing on it.
            stream.inbox.abandon()
        if self._expected <= self._streams.keys():
            self._complete.set()
        return None

    async def opened(self, within: float) -> None:
        """Wait for the client's streams, `within` seconds. Raises TimeoutError."""
        async with asyncio.timeout(within):
            await self._complete.wait()

    async def feed(self) -> None:
        """Copy what the client sends, until this is cancelled. Raises OSError."""
        await self._complete.wait()
        await asyncio.gather(self._feed_stdin(), self._feed_resizes())

    async def _feed_stdin(self) -> None:
        if (stream := self._streams.get("stdin")) is not None:
            while data := await stream.read():
                await self._incoming.stdin(data)
            await self._incoming.close_stdin()

    async def _feed_resizes(self) -> None:
        # The client opens this stream last, perhaps after the command has begun, or never.
        await self._resizable.wait()
        while data := await self._streams["resize"].read():
            await self._incoming.resize(data)

    async def output(self, stream: str, data: bytes) -> None:
        try:
            await self._streams[stream].write(data)
        except StreamClosed:
            # The client wants no more of this stream; it may want the others.
            pass

    async def end(self, ended: dict[str, Any]) -> None:
        try:
            if data := status.encoded(ended, structured=self._protocol in STRUCTURED):
                await self._streams["error"].write(data)
        except StreamClosed:
            pass
        for stream in self._streams.values():
            await stream.finish()
