"""The server's side of a WebSocket, without I/O: wsproto's frames as pieces of messages, and every mistake as an end.

A message may have any size and is passed on in pieces. Extensions (compression) are not negotiated.

Source: RFC 6455.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TypeAlias

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, RemoteProtocolError, generate_accept_token

NORMAL = int(CloseReason.NORMAL_CLOSURE)
INTERNAL_ERROR = int(CloseReason.INTERNAL_ERROR)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a message, text as UTF-8; `first` and `last` of its message, which may be empty."""

    data: bytes
    first: bool
    last: bool


@dataclass(frozen=True, slots=True)
class Closed:
    """The client closed the WebSocket, or broke its rules. Nothing is received afterwards."""

    code: int


Event: TypeAlias = Piece | Closed


def accept_token(key: str) -> str | None:
    """The answer to Sec-WebSocket-Key; None for a key that is not 16 bytes in base64."""
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            return None
    except (binascii.Error, ValueError):
        return None
    return generate_accept_token(key.encode()).decode()


class ServerWebSocket:
    def __init__(self) -> None:
        self._connection = Connection(ConnectionType.SERVER)
        self._output = bytearray()
        self._first = True
        self.closed = False

    def output(self) -> bytes:
        """Bytes to send, which are then forgotten."""
        data = bytes(self._output)
        self._output.clear()
        return data

    def receive(self, data: bytes) -> list[Event]:
        """Events in order; pings and closes are answered."""
        events: list[Event] = []
        if self.closed:
            return events
        try:
            self._connection.receive_data(data)
            for event in self._connection.events():
                self._handle(event, events)
                if isinstance(event, CloseConnection):
                    break
        except (RemoteProtocolError, LocalProtocolError, ValueError, AssertionError):
            # The two last ones are wsproto's own, of frames that it did not foresee.
            self._end(int(CloseReason.PROTOCOL_ERROR), events)
        return events

    def _handle(self, event: object, events: list[Event]) -> None:
        match event:
            case BytesMessage(data=data, message_finished=last):
                self._piece(bytes(data), events, last=last)
            case TextMessage(data=text, message_finished=last):
                self._piece(text.encode(), events, last=last)
            case Ping():
                self._send(event.response())
            case CloseConnection(code=code):
                self._end(int(code), events)

    def _piece(self, data: bytes, events: list[Event], *, last: bool) -> None:
        if data or last:
            events.append(Piece(data, self._first, last))
            self._first = last

    def _end(self, code: int, events: list[Event]) -> None:
        self.close(code)
        self.closed = True
        events.append(Closed(code))

    def send(self, data: bytes) -> None:
        """A binary message. Ignored once the WebSocket is closed."""
        self._send(BytesMessage(data=data))

    def pong(self) -> None:
        """An unsolicited pong, which keeps a client that waits for pongs (RFC 6455, section 5.5.3)."""
        self._send(Pong())

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Send a close frame, once. wsproto sends 1000 for codes that may not be sent, and cuts the reason to 123 bytes."""
        self._send(CloseConnection(code=code, reason=reason or None))

    def _send(self, event: BytesMessage | Ping | Pong | CloseConnection) -> None:
        try:
            self._output += self._connection.send(event)
        except LocalProtocolError:
            # The close frame has been sent; nothing may follow it.
            pass
