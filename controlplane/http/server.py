"""HTTP/1.1 on one TLS connection: requests one after the other, each with limits on its size and its time.

The application sees whole requests and returns responses. It is asked twice: who the client is, once the head is there, which
decides how large a body may be; then for the response. A body that the application takes as it comes (`streams`) has no limit
on its size: it is read as fast as it is taken. `listener` decides which connections there are.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import parse_qsl

import h11

from controlplane.http import heads
from controlplane.http.compression import compressed
from controlplane.http.connection import Connection
from controlplane.http.heads import MAX_HEAD
from controlplane.http.messages import Chunks, Request, Response, Upgrade, UpgradedConnection
from controlplane.http.outgoing import Congested, Outgoing
from pinnace.errors import ApiError, BadRequest, Timeout, TooLarge, TooManyRequests

log = logging.getLogger("pinnace.http")

# Bytes of a body, of strangers and of clients (Kubernetes' limit).
STRANGERS_BODY, MAX_BODY = 16 << 10, 3 << 20
MAX_PARAMETERS = 1000
READ = 64 << 10
# Seconds: between requests (longer than Go's clients keep idle connections), and for 64 KiB of a response to leave.
KEEP_ALIVE, PIECE = 120.0, 30.0
# Bytes of a response that are encrypted at once. Some twice as many may be left when a response counts as sent.
SLICE = 64 << 10
# Seconds in which more of a body has to come that is taken as it comes.
SILENCE = 60.0
# Chunks of a body, and bytes for each further one: a chunk costs as much as a small request.
MAX_CHUNKS, CHUNK = 2000, 128
# Chunks that are read before other connections have a turn.
TURN = 64


class Application(Protocol):
    async def identify(self, request: Request, certificate: bytes) -> Request:
        """The request with its identity, before the body is read. `certificate`: DER, empty without one. Raises ApiError."""

    def streams(self, request: Request) -> bool:
        """Whether the request's body is taken as it comes. The end of the client then ends the request too."""

    async def respond(self, request: Request) -> Response | Upgrade:
        """Raises nothing but cancellation."""

    def refuse(self, error: ApiError) -> Response:
        """The response to a request that is not read to its end."""


@dataclass(frozen=True, slots=True)
class Web:
    """Serves connections of a `Listener`."""

    application: Application
    outgoing: Outgoing = field(default_factory=Outgoing)

    async def handle(self, connection: Connection) -> None:
        """A `listener.Handler`."""
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        exchange = _Exchange(connection, http, self.application, self.outgoing)
        try:
            while await exchange.run():
                http.start_next_cycle()
                connection.end(KEEP_ALIVE)
                # Requests that are here already would all be answered before anything else runs.
                await asyncio.sleep(0)
        except (h11.RemoteProtocolError, asyncio.IncompleteReadError) as error:
            await exchange.complain(error)
        except Congested:
            log.warning("responses_not_read user=%s", connection.user[:100])


class _Exchange:
    """Requests and responses of one connection."""

    def __init__(self, connection: Connection, http: h11.Connection, application: Application, outgoing: Outgoing) -> None:
        assert connection.writer is not None
        self._connection = connection
        self._writer = connection.writer
        self._http = http
        self._application = application
        self._outgoing = outgoing
        self._idle = False
        # Whether the application takes the body of the present request as it comes, and what came behind a piece of it.
        self._streamed = False
        self._behind: h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED] | None = None

    async def run(self) -> bool:
        """One request and its response; False at the end of the connection."""
        try:
            head = await self._next()
            if not isinstance(head, h11.Request):
                return False
            request = await self._identify(_request(head, self._connection.peer))
            request = await self._with_body(request)
            if not self._connection.begin():
                raise TooManyRequests("too many requests are being served: try again")
        except ApiError as error:
            await self._send(self._application.refuse(error), close=True)
            return False
        return await self._answer(request)

    async def _identify(self, request: Request) -> Request:
        tls: ssl.SSLObject = self._writer.get_extra_info("ssl_object")
        request = await self._application.identify(request, tls.getpeercert(binary_form=True) or b"")
        # The connections of all that a user acts as are its own.
        user = request.identity.actor.user if request.identity is not None else ""
        if user and not self._connection.admit(user):
            raise TooManyRequests(f'user "{user}" has too many connections: try again')
        return request

    async def _with_body(self, request: Request) -> Request:
        """Raises what `_body` raises."""
        self._streamed, self._behind = request.identity is not None and self._application.streams(request), None
        if self._streamed and _has_body(request):
            return replace(request, incoming=self._pieces())
        return replace(request, body=await self._body(request))

    async def _answer(self, request: Request) -> bool:
        self._connection.end_with_peer(wanted=self._streamed)
        answer = await self._application.respond(request)
        self._connection.end_with_peer(wanted=False)
        if isinstance(answer, Response):
            # A stranger's connection is for one request, so that it can be closed to make room at any other time. One with
            # the rest of a body that nothing has read is of no use either, and clients that are told do not use it again.
            unread = self._http.their_state is h11.SEND_BODY
            # Here, so that what the application records of a response is not compressed.
            answer = await compressed(request, answer)
            await self._send(answer, close=unread or not self._connection.user, head_only=request.method == "HEAD")
            if unread:
                await self._linger()
            return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        self._connection.expect(None)
        leftover, _ = self._http.trailing_data
        await answer.serve(request, UpgradedConnection(self._connection.reader, self._writer, leftover))
        return False

    async def _next(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._event()) is h11.NEED_DATA:
            data = await self._connection.reader.read(READ)
            if self._idle and data:
                self._idle = False
                self._connection.expect(self._connection.limits.request)
            self._http.receive_data(data)
        return event

    def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        if self._http.their_state is not h11.IDLE:
            return self._http.next_event()
        before, _ = self._http.trailing_data
        event = self._http.next_event()
        if isinstance(event, h11.Request):
            heads.check(before[: len(before) - len(self._http.trailing_data[0])], event)
        return event

    async def _body(self, request: Request) -> bytes:
        """Raises TooLarge, Timeout, and RemoteProtocolError for one that ends early."""
        seconds = self._connection.grace()
        try:
            async with asyncio.timeout(seconds):
                return await self._whole_body(request)
        except TimeoutError:
            raise Timeout("the body of the request did not arrive in time") from None

    async def _pieces(self) -> Chunks:
        """Raises Timeout when the client is silent, and ConnectionAbortedError for a body that ends early."""
        self._continue()
        try:
            while isinstance(event := await self._piece(), h11.Data):
                yield bytes(event.data)
        except h11.RemoteProtocolError:
            raise ConnectionAbortedError("the body of the request ended early, or is not HTTP/1.1") from None
        if not isinstance(event, h11.EndOfMessage) and event is not h11.PAUSED:
            raise ConnectionAbortedError("the body of the request ended early")

    async def _piece(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """What has come of a body, in one: each piece costs its reader as much, however many chunks the client made of it."""
        if self._behind is not None:
            event, self._behind = self._behind, None
            return event
        try:
            async with asyncio.timeout(SILENCE):
                event = await self._next()
        except TimeoutError:
            raise Timeout("the body of the request did not arrive in time") from None
        if not isinstance(event, h11.Data):
            return event
        found = [bytes(event.data)]
        while isinstance(event := self._http.next_event(), h11.Data):
            found.append(bytes(event.data))
            if len(found) % TURN == 0:
                await asyncio.sleep(0)
        self._behind = None if event is h11.NEED_DATA else event
        return h11.Data(data=b"".join(found))

    def _continue(self) -> None:
        if self._http.they_are_waiting_for_100_continue:
            self._writer.write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")

    async def _whole_body(self, request: Request) -> bytes:
        most = STRANGERS_BODY if request.identity is None else MAX_BODY
        length = request.header("content-length", "0")
        if len(length) > 12 or int(length) > most:
            raise TooLarge(f"the body is larger than {most} bytes")
        self._continue()
        pieces, size, chunks = list[bytes](), 0, 0
        while True:
            event = await self._next()
            if isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
                size += len(event.data)
                if size > most:
                    raise TooLarge(f"the body is larger than {most} bytes")
                chunks += event.chunk_start
                if chunks > MAX_CHUNKS + size // CHUNK:
                    raise BadRequest(f"the body has more than {MAX_CHUNKS} chunks of less than {CHUNK} bytes")
            elif isinstance(event, h11.EndOfMessage) or event is h11.PAUSED:
                return b"".join(pieces)
            else:
                raise h11.RemoteProtocolError("the request ended early")

    async def _send(self, response: Response, *, close: bool = False, head_only: bool = False) -> None:
        body = response.body
        headers = [*response.headers]
        if response.content_type:
            headers.insert(0, ("content-type", response.content_type))
        if isinstance(body, bytes):
            headers.append(("content-length", str(len(body))))
        if close:
            headers.append(("connection", "close"))
        encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
        head = self._http.send(h11.Response(status_code=response.status, headers=encoded)) or b""
        if isinstance(body, bytes):
            content = b"" if head_only else self._http.send(h11.Data(data=body)) or b""
            await self._write(head + content + (self._http.send(h11.EndOfMessage()) or b""))
        elif head_only:
            await body.aclose()
            await self._write(head + (self._http.send(h11.EndOfMessage()) or b""))
        else:
            async with aclosing(body):
                await self._stream(head, body, response.patience or PIECE)
        self._idle = True

    async def _linger(self) -> None:
        """Drop what still comes, for a moment: a connection that is closed with unread data is reset, which may overtake the
        response."""
        try:
            async with asyncio.timeout(self._connection.limits.shutdown):
                while await self._connection.reader.read(READ):
                    pass
        except TimeoutError:
            pass

    async def _stream(self, head: bytes, chunks: Chunks, patience: float) -> None:
        """A body in chunks, until its end or the client's."""
        await self._write(head)
        self._connection.end_with_peer(wanted=True)
        async for piece in chunks:
            await self._write(self._http.send(h11.Data(data=piece)) or b"", patience)
        self._connection.end_with_peer(wanted=False)
        await self._write(self._http.send(h11.EndOfMessage()) or b"")

    async def _write(self, data: bytes, patience: float = PIECE) -> None:
        """Raises TimeoutError, out of the connection's deadline, when the peer does not read, and Congested when many others of
        the user do not."""
        if not self._connection.user:
            self._writer.write(data)
            await self._writer.drain()
            return
        self._connection.expect(patience)
        # What may wait for an hour is a stream of small pieces, and would keep the user's other responses waiting for as long.
        counted = len(data) if patience <= PIECE else 0
        async with self._outgoing.room(self._connection.user, counted):
            # Of what is written in one, `drain` waits for nothing that is encrypted already: all of it, if it is the first.
            view = memoryview(data)
            for at in range(0, len(data), SLICE):
                self._connection.expect(patience)
                self._writer.write(view[at : at + SLICE])
                await self._writer.drain()
        self._connection.expect(None)

    async def complain(self, error: Exception) -> None:
        """Answer what is no HTTP, if a response can still be sent."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send(self._application.refuse(heads.explain(error, self._http.trailing_data[0])), close=True)


def _request(head: h11.Request, peer: str) -> Request:
    headers: dict[str, list[str]] = {}
    for name, value in head.headers:
        headers.setdefault(name.decode("ascii"), []).append(value.decode("latin-1"))
    path, _, text = head.target.decode("ascii", "replace").partition("?")
    query: dict[str, list[str]] = {}
    for key, item in _parameters(text):
        query.setdefault(key, []).append(item)
    return Request(head.method.decode("ascii"), path, query=query, headers=headers, peer=peer, query_string=text)


def _has_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or request.header("content-length", "0").strip("0") != ""


def _parameters(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise BadRequest(f"the URL has more than {MAX_PARAMETERS} query parameters") from None
