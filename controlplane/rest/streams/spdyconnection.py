"""A SPDY/3.1 connection for asyncio: streams that are read and written with back-pressure, over a channel of bytes.

One task reads the connection and hands data to the streams. A stream that is not read blocks the connection, and by it the
streams of the same client, as with every server of this protocol: its clients have no windows (`spdywindows`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from controlplane.rest.streams import spdyevents as events
from controlplane.rest.streams.connection import ByteChannel
from controlplane.rest.streams.inbox import Inbox
from controlplane.rest.streams.spdy import SpdyServer
from controlplane.rest.streams.spdyframes import Reset


class StreamClosed(Exception):
    """The client has reset the stream, or closed the connection."""


class SpdyStream:
    def __init__(self, connection: SpdyConnection, id_: int, headers: dict[str, str]) -> None:
        self._connection = connection
        self.id = id_
        self.headers = headers
        self.inbox = Inbox()
        # Set when the stream has ended in both directions before its time.
        self.closed = asyncio.Event()

    async def read(self) -> bytes:
        """The next bytes, b"" at the end."""
        data = await self.inbox.take()
        if data:
            await self._connection.consumed(self.id, len(data))
        return data

    async def write(self, data: bytes) -> None:
        """Raises StreamClosed, OSError."""
        await self._connection.write(self, data)

    async def finish(self) -> None:
        """End our direction. Raises OSError."""
        await self._connection.finish(self)

    async def reset(self, status: Reset = Reset.CANCEL) -> None:
        """End both directions. Raises OSError."""
        await self._connection.reset(self, status)

    def close(self) -> None:
        self.inbox.abandon()
        self.closed.set()


class SpdyConnection:
    def __init__(self, channel: ByteChannel, max_streams: int, opened: Callable[[SpdyStream], Reset | None]) -> None:
        """`opened` is called with each new stream, and returns why it is refused, or None."""
        self._channel = channel
        self._opened = opened
        self._spdy = SpdyServer(max_streams)
        self._streams: dict[int, SpdyStream] = {}
        self._windows = asyncio.Event()

    async def run(self) -> None:
        """Return at the end of the connection, or when the client opens no more streams. Raises OSError."""
        try:
            while data := await self._channel.read():
                gone = False
                for event in self._spdy.receive(data):
                    gone |= isinstance(event, events.GoneAway | events.Failed)
                    await self._handle(event)
                await self._flush()
                if gone:
                    return
        finally:
            for stream in self._streams.values():
                stream.close()
            self._streams.clear()
            self._windows.set()

    async def _handle(self, event: events.Event) -> None:
        match event:
            case events.Opened(stream=id_, headers=headers):
                self._open(SpdyStream(self, id_, headers))
                await self._flush()
            case events.Received(stream=id_, data=data) if id_ in self._streams:
                await self._streams[id_].inbox.feed(data)
            case events.Finished(stream=id_) if id_ in self._streams:
                self._streams[id_].inbox.end()
                self._forget(id_)
            case events.WasReset(stream=id_) if id_ in self._streams:
                self._streams.pop(id_).close()
                self._windows.set()
            case events.WindowOpened():
                self._windows.set()

    def _open(self, stream: SpdyStream) -> None:
        refusal = self._opened(stream)
        if refusal is not None:
            self._spdy.reset(stream.id, refusal)
            return
        self._streams[stream.id] = stream
        self._spdy.reply(stream.id)

    async def write(self, stream: SpdyStream, data: bytes) -> None:
        """Raises StreamClosed, OSError."""
        while data:
            room = self._spdy.writable(stream.id)
            if stream.closed.is_set() or not self._spdy.is_open(stream.id):
                raise StreamClosed
            if not room:
                self._windows.clear()
                await self._windows.wait()
                continue
            self._spdy.send(stream.id, data[:room])
            data = data[room:]
            await self._flush()

    async def consumed(self, id_: int, count: int) -> None:
        """Raises OSError."""
        self._spdy.consumed(id_, count)
        await self._flush()

    async def finish(self, stream: SpdyStream) -> None:
        """Raises OSError."""
        self._spdy.finish(stream.id)
        self._forget(stream.id)
        await self._flush()

    def _forget(self, id_: int) -> None:
        """Of a stream that has ended in both directions its user alone keeps the rest."""
        if not self._spdy.knows(id_):
            self._streams.pop(id_, None)

    async def reset(self, stream: SpdyStream, status: Reset) -> None:
        """Raises OSError."""
        self._spdy.reset(stream.id, status)
        self._streams.pop(stream.id, None)
        stream.close()
        self._windows.set()
        await self._flush()

    async def heartbeat(self) -> None:
        """Find out whether the client is there, while nothing is read of it. Raises OSError."""
        self._spdy.ping()
        await self._flush()

    async def go_away(self) -> None:
        """Say that all is done. Raises OSError."""
        self._spdy.go_away()
        await self._flush()

    async def _flush(self) -> None:
        if data := self._spdy.output():
            await self._channel.write(data)
