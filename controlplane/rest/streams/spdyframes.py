"""Frames of SPDY/3.1 as bytes: a parser that holds little, and encoders.

The payload of a DATA frame is handed over as it arrives, so that a frame of 16 MiB costs no memory; a control frame has to
be complete, and is small.

Source: SPDY Protocol Draft 3.1, section 2.2 and 2.6.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass

VERSION = 3
# Bytes of a control frame's payload. The specification asks for at least 8192.
MAX_CONTROL = 16 << 10
MAX_WINDOW = (1 << 31) - 1
_ID = (1 << 31) - 1
_HEAD = struct.Struct("!II")
_PAIR = struct.Struct("!II")
_WORD = struct.Struct("!I")


class Type(enum.IntEnum):
    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


class Reset(enum.IntEnum):
    """Status of RST_STREAM."""

    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    CANCEL = 5
    INTERNAL_ERROR = 6
    FLOW_CONTROL_ERROR = 7
    STREAM_ALREADY_CLOSED = 9


class Away(enum.IntEnum):
    """Status of GOAWAY."""

    OK = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


FIN = 0x01
UNIDIRECTIONAL = 0x02
INITIAL_WINDOW_SIZE = 7


class MalformedFrame(Exception):
    """Bytes that are no SPDY/3.1. The connection is unusable afterwards."""


@dataclass(frozen=True, slots=True)
class Control:
    """A complete control frame. `type` may be one that is not known, which is to be ignored."""

    type: int
    flags: int
    payload: bytes

    def word(self, index: int) -> int:
        """The 32-bit number at `index`, counted in words. Raises MalformedFrame."""
        try:
            return int(_WORD.unpack_from(self.payload, index * _WORD.size)[0])
        except struct.error:
            raise MalformedFrame(f"a frame of type {self.type} is too short: {len(self.payload)} bytes") from None

    def stream(self) -> int:
        return self.word(0) & _ID

    def settings(self) -> list[tuple[int, int]]:
        """Ids and values of a SETTINGS frame. Raises MalformedFrame."""
        count = self.word(0)
        if len(self.payload) != _WORD.size + count * _PAIR.size:
            raise MalformedFrame(f"a SETTINGS frame of {count} entries has {len(self.payload)} bytes")
        return [(id_ & 0xFFFFFF, value) for id_, value in _PAIR.iter_unpack(self.payload[_WORD.size :])]


@dataclass(frozen=True, slots=True)
class Data:
    """A piece of a DATA frame; `fin` with the last piece of a frame that ends the stream."""

    stream: int
    data: bytes
    fin: bool


class Parser:
    def __init__(self) -> None:
        self._buffer = bytearray()
        # Of the DATA frame that is being read: its stream, bytes to come, flags.
        self._stream = self._left = self._flags = 0

    def feed(self, data: bytes) -> Iterator[Control | Data]:
        """Frames in order; to be exhausted before the next call. Raises MalformedFrame."""
        self._buffer += data
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Control | Data | None:
        if self._left:
            return self._piece() if self._buffer else None
        if len(self._buffer) < _HEAD.size:
            return None
        first, second = _HEAD.unpack_from(self._buffer)
        flags, length = second >> 24, second & 0xFFFFFF
        if first >> 31:
            return self._control(first, flags, length)
        del self._buffer[: _HEAD.size]
        self._stream, self._left, self._flags = first & _ID, length, flags
        if not self._stream:
            raise MalformedFrame("DATA of stream 0")
        if not length:
            return Data(self._stream, b"", bool(flags & FIN))
        return self._piece() if self._buffer else None

    def _piece(self) -> Data:
        data = bytes(self._buffer[: self._left])
        del self._buffer[: len(data)]
        self._left -= len(data)
        return Data(self._stream, data, not self._left and bool(self._flags & FIN))

    def _control(self, first: int, flags: int, length: int) -> Control | None:
        version, type_ = first >> 16 & 0x7FFF, first & 0xFFFF
        if version != VERSION:
            raise MalformedFrame(f"a control frame of SPDY version {version}")
        if length > MAX_CONTROL:
            raise MalformedFrame(f"a control frame of {length} bytes, more than {MAX_CONTROL}")
        end = _HEAD.size + length
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[_HEAD.size : end])
        del self._buffer[:end]
        return Control(type_, flags, payload)


def control(type_: Type, payload: bytes, flags: int = 0) -> bytes:
    return _HEAD.pack(1 << 31 | VERSION << 16 | type_, flags << 24 | len(payload)) + payload


def words(type_: Type, *numbers: int) -> bytes:
    """A control frame of numbers: RST_STREAM, PING, GOAWAY, WINDOW_UPDATE."""
    return control(type_, b"".join(map(_WORD.pack, numbers)))


def syn_stream(stream: int, block: bytes, flags: int = 0) -> bytes:
    """With priority 0, not associated to another stream."""
    return control(Type.SYN_STREAM, _WORD.pack(stream) + bytes(6) + block, flags)


def syn_reply(stream: int, block: bytes, flags: int = 0) -> bytes:
    return control(Type.SYN_REPLY, _WORD.pack(stream) + block, flags)


def settings(*entries: tuple[int, int]) -> bytes:
    return control(Type.SETTINGS, _WORD.pack(len(entries)) + b"".join(_PAIR.pack(*entry) for entry in entries))


def data(stream: int, payload: bytes, *, fin: bool = False) -> bytes:
    """`payload` is at most 16 MiB less one byte."""
    return _HEAD.pack(stream, (FIN if fin else 0) << 24 | len(payload)) + payload
