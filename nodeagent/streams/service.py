"""Answers the control plane's offers: one task and one `Carry` call for each stream, handled by its kind."""

from __future__ import annotations

import asyncio
from typing import Any

from nodeagent.streams.frames import DEPTH, Ended, Frame, Handler, drain, exhaust, log, pump, say
from pinnace.api.v1 import streams_pb2
from pinnace.errors import ApiError, BadRequest, TooManyRequests


class Streams:
    def __init__(self, handlers: dict[str, Handler]) -> None:
        """`handlers` by the name of the member of OpenStream.kind."""
        self._handlers = handlers
        self._calls: dict[str, Any] = {}

    def withdraw(self, id_: str) -> None:
        """The client of a stream has gone. That its frames end says so too, but not to a handler that does not read."""
        call = self._calls.get(id_)
        if call is not None:
            call.cancel()

    async def serve(self, stub: Any, offer: Any, *, busy: bool) -> None:
        """Carry one stream to its end; `busy`: say only that there are too many."""
        outgoing: asyncio.Queue[Any] = asyncio.Queue(DEPTH)
        await outgoing.put(Frame(id=offer.id))
        call = self._calls[offer.id] = stub.Carry(drain(outgoing))
        # One reader of the call: a generator that is cancelled while it runs cannot be read again.
        incoming: asyncio.Queue[Any] = asyncio.Queue(DEPTH)
        reader = asyncio.ensure_future(pump(call, incoming))
        # Apart from the frames: a handler that is held up by a process does not read them.
        handler = asyncio.ensure_future(self._exit_of(offer.open, drain(incoming), outgoing, busy=busy))
        call.add_done_callback(lambda _: handler.cancel())
        try:
            last = asyncio.ensure_future(say(outgoing, Frame(exit=await handler), None))
            try:
                # The control plane ends the call once the client has the last frame, or has gone. A client that reads
                # slowly (a pager) may take its time.
                await exhaust(drain(incoming))
            finally:
                last.cancel()
        except asyncio.CancelledError:
            if not handler.cancelled():
                raise
        except Exception as error:
            log.info("stream_ended id=%s error=%s", offer.id, error)
        finally:
            del self._calls[offer.id]
            handler.cancel()
            reader.cancel()
            call.cancel()

    async def _exit_of(self, opening: Any, incoming: Any, outgoing: asyncio.Queue[Any], *, busy: bool) -> streams_pb2.Exit:
        """Handle the stream to its end."""
        try:
            if busy:
                raise TooManyRequests("this node carries as many streams as it may already")
            await self._handle(opening, incoming, outgoing)
        except ApiError as error:
            return streams_pb2.Exit(code=1, message=error.message, reason=error.reason)
        except Ended as ended:
            return streams_pb2.Exit(code=ended.code)
        return streams_pb2.Exit()

    async def _handle(self, opening: Any, incoming: Any, outgoing: asyncio.Queue[Any]) -> None:
        kind = opening.WhichOneof("kind")
        if kind not in self._handlers:
            raise BadRequest(f"this agent does not know streams of kind {kind}")
        await self._handlers[kind](opening, incoming, outgoing)
