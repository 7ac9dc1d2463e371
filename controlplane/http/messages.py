"""Requests and responses, as handlers see them."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from controlplane.access.identity import Identity
from pinnace.errors import ApiError

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


# Pieces of a body as it arises. They are closed when the other end has gone.
Chunks = AsyncGenerator[bytes, None]


class Access(enum.Enum):
    """Who may ask for a page."""

    PUBLIC = "anyone, also without a certificate"
    AUTHORIZED = "users that the authorizers allow to read the path"


@dataclass(frozen=True, slots=True)
class Request:
    """`path` is still percent-encoded; `query` and `headers` hold every value, headers by lower-case name, `query_string` the
    query as it came. `identity`: of the client certificate or token, None of a stranger. `peer`: the address, for logs.
    `incoming`: instead of `body`, where the application takes it as it comes. `refused`: the answer, found while the client was
    identified."""

    method: str
    path: str
    body: bytes = b""
    identity: Identity | None = None
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, list[str]] = field(default_factory=dict)
    peer: str = ""
    query_string: str = ""
    incoming: Chunks | None = None
    refused: ApiError | None = None

    def header(self, name: str, default: str = "") -> str:
        """The only or first value."""
        return self.headers.get(name, [default])[0]

    def param(self, name: str, default: str = "") -> str:
        """The only or first value of a query parameter."""
        return self.query.get(name, [default])[0]


@dataclass(frozen=True, slots=True)
class Response:
    """`body`: bytes, or chunks of a response whose length is unknown or in `headers`. `content_type` empty: `headers` has it.
    `patience`: seconds that a client has to take a piece, instead of the server's own."""

    body: bytes | Chunks
    content_type: str = TEXT
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    patience: float | None = None
    # Whether it may be compressed: no stream, of which each piece counts when it arises.
    compressible: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class UpgradedConnection:
    """The bytes of a connection that left HTTP; `leftover` came after the request."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    leftover: bytes


class Upgrade(Protocol):
    """What takes a connection over. It writes the response itself, 101 if it agrees; the connection is closed after it."""

    async def serve(self, request: Request, connection: UpgradedConnection) -> None: ...


@dataclass(frozen=True, slots=True)
class Route:
    access: Access
    respond: Callable[[Request], Awaitable[Response]]
    method: str = "GET"
