"""A local HTTP server that passes requests on to the REST API with a context's certificate, for `kctl proxy`.

Whoever may connect to it acts as the context's user. A filter keeps away what a web page elsewhere could have a browser send.

Source: kubectl's pkg/proxy/proxy_server.go, whose filter and defaults these are. Browsers' Origin and Sec-Fetch-Site count too.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import h11

from pinnace.errors import ApiError

ACCEPT_HOSTS = r"^localhost$,^127\.0\.0\.1$,^\[::1\]$"
ACCEPT_PATHS = "^.*"
REJECT_PATHS = "^/api/.*/pods/.*/exec,^/api/.*/pods/.*/attach"
REJECT_METHODS = "^$"
# Connections at once; more wait. Bytes of a head, and of a read.
MAX_CONNECTIONS, MAX_HEAD, READ = 150, 64 << 10, 64 << 10
# Seconds to connect to the API.
CONNECT_WITHIN = 10.0
_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
    )
)
Headers = list[tuple[bytes, bytes]]


def patterns(text: str) -> tuple[re.Pattern[str], ...]:
    """Of a comma-separated list. Raises re.error."""
    return tuple(re.compile(item) for item in text.split(",") if item)


@dataclass(frozen=True, slots=True)
class Filter:
    """What is passed on."""

    accept_hosts: tuple[re.Pattern[str], ...] = field(default_factory=lambda: patterns(ACCEPT_HOSTS))
    accept_paths: tuple[re.Pattern[str], ...] = field(default_factory=lambda: patterns(ACCEPT_PATHS))
    reject_paths: tuple[re.Pattern[str], ...] = field(default_factory=lambda: patterns(REJECT_PATHS))
    reject_methods: tuple[re.Pattern[str], ...] = field(default_factory=lambda: patterns(REJECT_METHODS))

    def accepts(self, request: h11.Request) -> bool:
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in request.headers}
        # As the API reads it, which takes several slashes at the beginning for one.
        path = "/" + unquote(request.target.decode("ascii").partition("?")[0]).lstrip("/")
        return (
            _any(self.accept_hosts, _host(headers.get("host", "")))
            and self._same_site(headers)
            and _any(self.accept_paths, path)
            and not _any(self.reject_paths, path)
            and not _any(self.reject_methods, request.method.decode("ascii"))
        )

    def _same_site(self, headers: dict[str, str]) -> bool:
        origin = headers.get("origin")
        if headers.get("sec-fetch-site") == "cross-site":
            return False
        return origin is None or _any(self.accept_hosts, _host(urlsplit(origin).netloc))


def _any(found: Iterable[re.Pattern[str]], text: str) -> bool:
    return any(item.search(text) for item in found)


def _host(text: str) -> str:
    """Without the port."""
    return re.sub(r":[0-9]*\Z", "", text)


class LocalProxy:
    def __init__(self, server: str, tls: Callable[[], ssl.SSLContext], accepted: Filter | None) -> None:
        """`server`: URL of the REST API. `tls` is called for each request, in a thread, and raises ApiError. `accepted` None:
        everything."""
        parts = urlsplit(server)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._authority = parts.netloc
        self._tls = tls
        self._accepted = accepted
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection, to its end."""
        client = _Side(h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD), reader, writer)
        try:
            async with self._slots:
                while await self._exchange(client):
                    client.http.start_next_cycle()
        except (OSError, h11.ProtocolError, asyncio.IncompleteReadError):
            # Either end has gone, or speaks no HTTP.
            pass
        finally:
            writer.close()

    async def _exchange(self, client: _Side) -> bool:
        """One request and its response; False at the end of the connection."""
        head = await client.event()
        if not isinstance(head, h11.Request):
            return False
        if head.method == b"CONNECT" or (self._accepted is not None and not self._accepted.accepts(head)):
            await client.refuse(403, "Forbidden")
            return False
        try:
            async with asyncio.timeout(CONNECT_WITHIN):
                tls = await asyncio.to_thread(self._tls)
                connected = await asyncio.open_connection(self._host, self._port, ssl=tls, limit=READ)
        except (OSError, TimeoutError, ApiError) as error:
            await client.refuse(502, f"cannot reach the REST API: {getattr(error, 'strerror', None) or error or 'no answer'}")
            return False
        api = _Side(h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD), *connected)
        try:
            await api.send(h11.Request(method=head.method, target=head.target, headers=self._headers(head)))
            return await _carry(client, api)
        finally:
            api.writer.close()

    def _headers(self, head: h11.Request) -> Headers:
        kept = _end_to_end(head.headers, b"host")
        upgrade = next((value for name, value in head.headers if name == b"upgrade"), b"")
        last = [(b"connection", b"Upgrade"), (b"upgrade", upgrade)] if upgrade else [(b"connection", b"close")]
        return [(b"host", self._authority.encode()), *kept, *last]


@dataclass(slots=True)
class _Side:
    http: h11.Connection
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            if self.http.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            self.http.receive_data(await self.reader.read(READ))
        return event

    async def send(self, event: h11.Event) -> None:
        self.writer.write(self.http.send(event) or b"")
        await self.writer.drain()

    async def refuse(self, code: int, text: str) -> None:
        body = text.encode()
        headers = [("content-type", "text/plain"), ("content-length", str(len(body))), ("connection", "close")]
        await self.send(h11.Response(status_code=code, headers=headers))
        await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())


async def _carry(client: _Side, api: _Side) -> bool:
    """The rest of a request, and its response. Whether the client's connection can serve another."""
    with _running(_feed(client, api)):
        while isinstance(head := await api.event(), h11.InformationalResponse):
            if head.status_code == 101:
                break
        if isinstance(head, h11.InformationalResponse):
            await _switch(client, api, head)
            return False
        if not isinstance(head, h11.Response):
            return False
        left_out = b"transfer-encoding", *((b"content-length",) if _chunked(head) else ())
        await client.send(h11.Response(status_code=head.status_code, headers=_end_to_end(head.headers, *left_out)))
        while isinstance(event := await api.event(), h11.Data):
            await client.send(h11.Data(data=event.data))
        await client.send(h11.EndOfMessage())
    return client.http.our_state is h11.DONE and client.http.their_state is h11.DONE


async def _feed(client: _Side, api: _Side) -> None:
    while isinstance(event := await client.event(), h11.Data):
        await api.send(h11.Data(data=event.data))
    await api.send(h11.EndOfMessage())


async def _switch(client: _Side, api: _Side, head: h11.InformationalResponse) -> None:
    """Both ends speak something else from here on, until one of them ends."""
    lines = [b"HTTP/1.1 101 Switching Protocols", *(name + b": " + value for name, value in head.headers)]
    client.writer.write(b"\r\n".join([*lines, b"", b""]) + api.http.trailing_data[0])
    api.writer.write(client.http.trailing_data[0])
    copies = [asyncio.ensure_future(_copy(client, api)), asyncio.ensure_future(_copy(api, client))]
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in copies:
            task.cancel()
        await asyncio.gather(*copies, return_exceptions=True)


async def _copy(source: _Side, target: _Side) -> None:
    while data := await source.reader.read(READ):
        target.writer.write(data)
        await target.writer.drain()


@contextmanager
def _running(coroutine: object) -> Iterator[None]:
    task = asyncio.ensure_future(coroutine)  # type: ignore[call-overload]
    # What it fails with ends the connection of the other side, and that is noticed.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        yield
    finally:
        task.cancel()


def _end_to_end(headers: Iterable[tuple[bytes, bytes]], *left_out: bytes) -> Headers:
    every = list(headers)
    named = {
        word.strip().lower() for name, value in every if name == b"connection" for word in value.split(b",") if word.strip()
    }
    return [(name, value) for name, value in every if name not in _HOP_BY_HOP and name not in named and name not in left_out]


def _chunked(head: h11.Response) -> bool:
    return any(name == b"transfer-encoding" for name, _ in head.headers)
