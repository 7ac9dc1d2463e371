"""A SPDY/3.1 client without I/O: frames for a server, and the server's frames taken apart."""

from __future__ import annotations

from controlplane.rest.streams import spdyframes as frames
from controlplane.rest.streams.spdyframes import FIN, Control, Data, Parser, Type
from controlplane.rest.streams.spdyheaders import HeaderDecoder, HeaderEncoder


class SpdyClient:
    def __init__(self) -> None:
        self._encoder = HeaderEncoder()
        self._decoder = HeaderDecoder()
        self._parser = Parser()
        self._next = 1

    def open(self, headers: dict[str, str], *, fin: bool = False, id_: int | None = None) -> tuple[int, bytes]:
        """A stream's number and its SYN_STREAM."""
        stream = self._next if id_ is None else id_
        self._next = stream + 2
        return stream, frames.syn_stream(stream, self._encoder.encode(headers), FIN if fin else 0)

    def read(self, data: bytes) -> list[tuple[object, ...]]:
        """The server's frames: (name, stream or number, ...), with data and `fin`."""
        found: list[tuple[object, ...]] = []
        for frame in self._parser.feed(data):
            match frame:
                case Data(stream=stream, data=payload, fin=fin):
                    found.append(("DATA", stream, payload, fin))
                case Control(type=Type.SYN_REPLY):
                    found.append(("SYN_REPLY", frame.stream(), self._decoder.decode(frame.payload[4:])))
                case Control(type=Type.RST_STREAM | Type.GOAWAY | Type.WINDOW_UPDATE as type_):
                    found.append((Type(type_).name, frame.word(0), frame.word(1)))
                case Control():
                    found.append((Type(frame.type).name, frame.word(0)))
        return found
