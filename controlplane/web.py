"""HTTPS beside gRPC: joining, health and metrics.

`/ca.pem` and `/join` are open to a host that has no certificate yet; everything else needs a client certificate of
this cluster. One request a connection, small bodies, a deadline for each.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import h11

from pinnace.errors import ApiError, BadRequest, NotFound, Unauthenticated

log = logging.getLogger("pinnace.web")
MAX_BODY = 16 << 10
DEADLINE = 10.0
MAX_CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    body: bytes
    # Whether the peer showed a certificate of this cluster.
    trusted: bool


@dataclass(frozen=True, slots=True)
class Response:
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200


Route = Callable[[Request], Awaitable[Response]]


class Web:
    def __init__(self, routes: dict[str, Route], *, public: frozenset[str]) -> None:
        self._routes = routes
        self._public = public
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)

    async def serve(self, host: str, port: int, tls: ssl.SSLContext) -> asyncio.Server:
        """Listen. Raises OSError."""
        return await asyncio.start_server(
            self._connection, host, port, ssl=tls, limit=MAX_BODY * 2, ssl_handshake_timeout=DEADLINE
        )

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._slots, asyncio.timeout(DEADLINE):
                trusted = bool(writer.get_extra_info("peercert"))
                connection = h11.Connection(h11.SERVER, max_incomplete_event_size=8 << 10)
                response = await self._respond(connection, reader, trusted=trusted)
                await _send(connection, writer, response)
        except (TimeoutError, OSError, h11.RemoteProtocolError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _respond(self, connection: h11.Connection, reader: asyncio.StreamReader, *, trusted: bool) -> Response:
        try:
            request = await _receive(connection, reader, trusted=trusted)
            if not trusted and request.path not in self._public:
                raise Unauthenticated("a client certificate is required")
            route = self._routes.get(request.path)
            if route is None:
                raise NotFound(f"no such page (there are: {', '.join(sorted(self._routes))})")
            return await route(request)
        except ApiError as error:
            body = json.dumps({"reason": error.reason, "message": error.message}).encode()
            return Response(body + b"\n", "application/json", error.http)
        except (h11.RemoteProtocolError, TimeoutError, OSError):
            raise
        except Exception:
            log.exception("web_failed")
            return Response(b"internal error\n", status=500)


async def _receive(connection: h11.Connection, reader: asyncio.StreamReader, *, trusted: bool) -> Request:
    head: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(16 << 10))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
            if len(body) > MAX_BODY:
                raise BadRequest(f"the body is larger than {MAX_BODY} bytes")
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            path = head.target.decode("ascii", "replace").partition("?")[0]
            return Request(head.method.decode("ascii"), path, body, trusted)
        else:
            raise h11.RemoteProtocolError("the request ended early")


async def _send(connection: h11.Connection, writer: asyncio.StreamWriter, response: Response) -> None:
    headers = [
        ("content-type", response.content_type),
        ("content-length", str(len(response.body))),
        ("connection", "close"),
    ]
    for event in (
        h11.Response(status_code=response.status, headers=headers),
        h11.Data(data=response.body),
        h11.EndOfMessage(),
    ):
        writer.write(connection.send(event) or b"")
    await writer.drain()
