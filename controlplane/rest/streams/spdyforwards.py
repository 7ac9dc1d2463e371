"""port-forward over SPDY/3.1: a pair of streams, error and data, for each connection to a port.

The client opens the error stream first; both carry the same requestID.

Source: k8s.io/client-go's tools/portforward.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from controlplane.rest.streams import forwarding
from controlplane.rest.streams.connection import ByteChannel
from controlplane.rest.streams.interface import NodeStream
from controlplane.rest.streams.options import port_number
from controlplane.rest.streams.spdyconnection import SpdyConnection, SpdyStream, StreamClosed
from controlplane.rest.streams.spdyframes import Reset
from pinnace.errors import BadRequest

# Connections at once, on one connection of the client.
MAX_PAIRS = 150


@dataclass(slots=True)
class _Pair:
    port: int
    streams: dict[str, SpdyStream] = field(default_factory=dict)
    complete: asyncio.Event = field(default_factory=asyncio.Event)


class SpdyForwards:
    def __init__(self, channel: ByteChannel, pod: NodeStream, *, within: float) -> None:
        """`within`: seconds until a stream that has no partner is given up."""
        self._pod = pod
        self._within = within
        self._pairs: dict[str, _Pair] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.connection = SpdyConnection(channel, 2 * MAX_PAIRS, self._open)

    async def run(self) -> None:
        """Return when the client closes the connection. Raises OSError."""
        try:
            await self.connection.run()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _open(self, stream: SpdyStream) -> Reset | None:
        type_, id_ = stream.headers.get("streamtype", ""), stream.headers.get("requestid", "")
        try:
            port = port_number(stream.headers.get("port", ""))
        except BadRequest:
            return Reset.PROTOCOL_ERROR
        if type_ not in ("error", "data") or not id_:
            return Reset.PROTOCOL_ERROR
        pair = self._pairs.get(id_) or self._begin(id_, port)
        if pair.port != port or type_ in pair.streams:
            return Reset.PROTOCOL_ERROR
        if type_ == "error":
            # The client sends nothing on it.
            stream.inbox.abandon()
        pair.streams[type_] = stream
        if len(pair.streams) == 2:
            pair.complete.set()
        return None

    def _begin(self, id_: str, port: int) -> _Pair:
        pair = self._pairs[id_] = _Pair(port)
        task = asyncio.ensure_future(self._serve(id_, pair))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return pair

    async def _serve(self, id_: str, pair: _Pair) -> None:
        try:
            async with asyncio.timeout(self._within):
                await pair.complete.wait()
            await self._carry(pair)
        except (TimeoutError, OSError):
            # OSError: the connection is gone, and its reader sees that too.
            pass
        finally:
            del self._pairs[id_]
            await self._end(pair)

    async def _carry(self, pair: _Pair) -> None:
        """Until the port or the client ends. Raises OSError."""
        data, error = pair.streams["data"], pair.streams["error"]
        work = asyncio.ensure_future(forwarding.forward(self._pod, pair.port, data))
        closed = asyncio.ensure_future(data.closed.wait())
        try:
            await asyncio.wait((work, closed), return_when=asyncio.FIRST_COMPLETED)
            if work.done() and (failure := work.result()):
                await error.write(failure.encode())
        except StreamClosed:
            pass
        finally:
            for task in (work, closed):
                task.cancel()
            await asyncio.gather(work, closed, return_exceptions=True)

    async def _end(self, pair: _Pair) -> None:
        """Both streams; the client waits for the end of the error stream."""
        try:
            for stream in pair.streams.values():
                await stream.finish()
                stream.inbox.abandon()
        except OSError:
            pass
