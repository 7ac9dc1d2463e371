"""Streams as the rest of the API sees them: a request for a pod's subresource, and the router of streams to nodes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pinnace.api.v1 import streams_pb2

# Bytes of data in one frame, as kctl and the agent have it.
CHUNK = 32 << 10


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """A request for a subresource of a pod: exec, attach, portforward or log.

    `query` and `headers` hold every value in its order; `headers` have names in lower case."""

    method: str
    namespace: str
    name: str
    subresource: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, list[str]] = field(default_factory=dict)

    def words(self, name: str) -> list[str]:
        """The words of a header that is a comma-separated list, of all its lines."""
        return [word.strip() for line in self.headers.get(name, []) for word in line.split(",") if word.strip()]

    def parameters(self, name: str) -> list[str]:
        """The values of a query parameter."""
        return self.query.get(name, [])

    def parameter(self, name: str) -> str:
        """The first value of a query parameter, as Kubernetes takes it, or empty."""
        return next(iter(self.parameters(name)), "")

    def flag(self, name: str, *, absent: bool = False) -> bool:
        """Kubernetes' booleans: `0` and `false` in any case are false, any other value is true."""
        return self.parameter(name).lower() not in ("0", "false") if name in self.query else absent


class StreamRouter(Protocol):
    def client(
        self, node: str, opening: streams_pb2.OpenStream, frames: AsyncIterator[streams_pb2.Frame] | None
    ) -> AsyncGenerator[streams_pb2.Frame, None]:
        """Frames of the node until the stream's end; closing the generator ends the stream. Raises ApiError."""


@dataclass(frozen=True, slots=True)
class NodeStream:
    """A stream of a node that has not begun."""

    router: StreamRouter
    node: str
    opening: streams_pb2.OpenStream

    def begin(self, frames: AsyncIterator[streams_pb2.Frame] | None) -> AsyncGenerator[streams_pb2.Frame, None]:
        """As `StreamRouter.client`."""
        return self.router.client(self.node, self.opening, frames)
