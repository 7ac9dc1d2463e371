"""One proxied request and its response: HTTP/1.1 as a client, over a connection of its own to the pod.

The request's body goes out while the response is awaited and read: a pod may answer before it has read everything. What the
pod sends is parsed, never copied: a head that is no HTTP, or too large, is an error, and a body ends where its framing says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import h11

from controlplane.http.messages import Chunks, Request
from controlplane.rest.proxy.heads import Headers
from controlplane.rest.proxy.podconnection import PodConnection
from pinnace.errors import ApiError, BadRequest, Timeout, Unavailable

# Bytes and lines of a response's head, and heads of interim responses (103) before it.
MAX_HEAD, MAX_LINES, MAX_INTERIM = 64 << 10, 500, 20
# Pieces of a body that are parsed before other tasks have a turn: a pod may send chunks of one byte.
TURN = 64


class Exchange:
    """`begin`, then `body`, or `switched` after status 101; `close` in any case. `head_within`: seconds for the response to
    begin, once the pod has the whole request."""

    def __init__(self, pod: PodConnection, head_within: float) -> None:
        self.pod = pod
        self._head_within = head_within
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._feeder: asyncio.Task[None] | None = None
        # Whether the pod has ended its side.
        self._ended = False

    async def begin(self, request: Request, headers: Headers, target: str) -> h11.Response | h11.InformationalResponse:
        """The head of the response. Raises ApiError."""
        self._feeder = asyncio.ensure_future(self._feed(request, headers, target))
        head = asyncio.ensure_future(self._head())
        try:
            await asyncio.wait((head, self._feeder), return_when=asyncio.FIRST_COMPLETED)
            if not head.done():
                self._feeder.result()
                await asyncio.wait((head,), timeout=self._head_within)
            if not head.done():
                raise Timeout(f"error trying to reach service: no response within {self._head_within:.0f} s")
            return head.result()
        finally:
            head.cancel()
            await asyncio.gather(head, return_exceptions=True)

    async def body(self) -> AsyncGenerator[bytes, None]:
        """Pieces of the response's body. Raises ConnectionAbortedError for one that is cut."""
        try:
            async for piece in self._body():
                yield piece
                self._check_feeder()
        except (ApiError, h11.ProtocolError) as error:
            raise ConnectionAbortedError(str(error)) from None

    def switched(self) -> bytes:
        """What the pod has sent behind the head of a 101."""
        data, _ = self._http.trailing_data
        return bytes(data)

    async def close(self) -> None:
        if self._feeder is not None:
            self._feeder.cancel()
            await asyncio.gather(self._feeder, return_exceptions=True)
        await self.pod.close()

    async def _feed(self, request: Request, headers: Headers, target: str) -> None:
        """Raises ApiError."""
        encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
        await self._send(h11.Request(method=request.method, target=target, headers=encoded))
        try:
            async for piece in _pieces(request):
                await self._send(h11.Data(data=piece))
        except ConnectionAbortedError as error:
            raise BadRequest(str(error)) from None
        await self._send(h11.EndOfMessage())

    async def _send(self, event: h11.Event) -> None:
        await self.pod.write(self._http.send(event) or b"")

    def _check_feeder(self) -> None:
        if self._feeder is not None and self._feeder.done():
            self._feeder.result()

    async def _head(self) -> h11.Response | h11.InformationalResponse:
        """Raises ApiError."""
        try:
            for _ in range(MAX_INTERIM):
                event = await self._next()
                if isinstance(event, (h11.Response, h11.InformationalResponse)):
                    _check(event)
                    if event.status_code == 101 or isinstance(event, h11.Response):
                        return event
        except h11.RemoteProtocolError:
            what = "closed the connection without a response" if self._ended else "did not answer in HTTP/1.1"
            raise Unavailable(f"error trying to reach service: the pod {what}") from None
        raise Unavailable(f"error trying to reach service: the pod sent more than {MAX_INTERIM} interim responses")

    async def _next(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            await self._receive()
        return event

    async def _receive(self) -> None:
        data = await self.pod.read()
        self._ended = not data
        self._http.receive_data(data)

    async def _body(self) -> AsyncIterator[bytes]:
        pieces, turns = list[bytes](), 0
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
                turns += 1
                if turns % TURN == 0:
                    await asyncio.sleep(0)
            elif pieces:
                yield b"".join(pieces)
                pieces.clear()
            if event is h11.NEED_DATA:
                await self._receive()
            elif not isinstance(event, h11.Data):
                return


async def _pieces(request: Request) -> Chunks:
    if request.incoming is None:
        if request.body:
            yield request.body
        return
    async for piece in request.incoming:
        yield piece


def _check(head: h11.Response | h11.InformationalResponse) -> None:
    if len(head.headers) > MAX_LINES:
        raise Unavailable(f"error trying to reach service: the pod's response has more than {MAX_LINES} headers")
