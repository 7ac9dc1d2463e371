"""Events of a SPDY connection: see `spdy`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Opened:
    """The client opened a stream, which `reply` accepts and `reset` refuses."""

    stream: int
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Received:
    """Data of a stream. Its window opens again with `consumed`."""

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """The client sends no more on this stream."""

    stream: int


@dataclass(frozen=True, slots=True)
class WasReset:
    """The stream has ended in both directions, by the client's RST_STREAM or its mistake."""

    stream: int


@dataclass(frozen=True, slots=True)
class WindowOpened:
    """`writable` of streams may have grown."""


@dataclass(frozen=True, slots=True)
class GoneAway:
    """The client opens no more streams."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The connection ended by the client's mistake."""

    reason: str


Event: TypeAlias = Opened | Received | Finished | WasReset | WindowOpened | GoneAway | Failed
