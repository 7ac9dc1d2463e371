"""The server's side of a SPDY/3.1 connection, without I/O: bytes in, events out, and bytes to send.

Nothing that a client sends raises: a mistake about one stream resets that stream, any other ends the connection with GOAWAY
and a `Failed` event. Memory is bounded: a stream costs a few hundred bytes, and data is passed on, never kept. The caller
takes `output()` after each call, and reads no more while that cannot be sent.

Source: SPDY Protocol Draft 3.1. Only clients open streams; nothing is pushed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from controlplane.rest.streams import spdyframes as frames
from controlplane.rest.streams.spdyevents import Event, Failed, Finished, GoneAway, Opened, Received, WasReset, WindowOpened
from controlplane.rest.streams.spdyframes import FIN, UNIDIRECTIONAL, Away, Control, Data, MalformedFrame, Parser, Reset, Type
from controlplane.rest.streams.spdyheaders import HeaderDecoder, HeaderEncoder, MalformedHeaders
from controlplane.rest.streams.spdywindows import INITIAL, ReceiveWindow, SendWindow

# The most that one DATA frame is given, in bytes.
CHUNK = 32 << 10


@dataclass(slots=True)
class _Stream:
    send: SendWindow
    receive: ReceiveWindow = field(default_factory=ReceiveWindow)
    # Directions that have ended.
    peer_finished: bool = False
    finished: bool = False


class SpdyServer:
    def __init__(self, max_streams: int) -> None:
        """One more stream than `max_streams` is refused by RST_STREAM."""
        self._max_streams = max_streams
        self._parser = Parser()
        self._decoder = HeaderDecoder()
        self._encoder = HeaderEncoder()
        self._output = bytearray()
        self._streams: dict[int, _Stream] = {}
        self._last = 0
        self._send = SendWindow()
        self._receive = ReceiveWindow()
        self._initial = INITIAL
        # Whether the client counts its windows (see spdywindows), and whether it is known to ignore ours.
        self._windowed = self._unwindowed = False
        self.closed = False

    def output(self) -> bytes:
        """Bytes to send, which are then forgotten."""
        data = bytes(self._output)
        self._output.clear()
        return data

    def receive(self, data: bytes) -> list[Event]:
        """Events in order. Nothing is read after GOAWAY was sent."""
        events: list[Event] = []
        if self.closed:
            return events
        try:
            for frame in self._parser.feed(data):
                if isinstance(frame, Data):
                    self._data(frame, events)
                else:
                    self._control(frame, events)
        except (MalformedFrame, MalformedHeaders) as error:
            self.go_away(Away.PROTOCOL_ERROR)
            events.append(Failed(str(error)))
        return events

    def reply(self, stream: int) -> None:
        """Accept a stream."""
        if stream in self._streams:
            self._output += frames.syn_reply(stream, self._encoder.encode({}))

    def writable(self, stream: int) -> int:
        """How many bytes `send` takes now; 0 also for a stream that has ended."""
        found = self._streams.get(stream)
        if found is None or found.finished:
            return 0
        return max(0, min(CHUNK, found.send.left, self._send.left)) if self._windowed else CHUNK

    def knows(self, stream: int) -> bool:
        """Whether a direction of the stream is open."""
        return stream in self._streams

    def is_open(self, stream: int) -> bool:
        """Whether data may still be sent, once there is room."""
        found = self._streams.get(stream)
        return found is not None and not found.finished

    def send(self, stream: int, data: bytes) -> None:
        """At most `writable` bytes. Ignored when the stream has ended."""
        if (found := self._streams.get(stream)) is not None and not found.finished:
            found.send.use(len(data))
            self._send.use(len(data))
            self._output += frames.data(stream, data)

    def finish(self, stream: int) -> None:
        """End our direction."""
        if (found := self._streams.get(stream)) is not None and not found.finished:
            found.finished = True
            self._output += frames.data(stream, b"", fin=True)
            self._forget(stream, found)

    def reset(self, stream: int, status: Reset = Reset.CANCEL) -> None:
        """End both directions."""
        if self._streams.pop(stream, None) is not None:
            self._output += frames.words(Type.RST_STREAM, stream, status)

    def consumed(self, stream: int, count: int) -> None:
        """So many bytes of `Received` have been passed on."""
        if self._unwindowed or self.closed:
            return
        found = self._streams.get(stream)
        windows = [(0, self._receive), *([(stream, found.receive)] if found and not found.peer_finished else [])]
        for id_, window in windows:
            if granted := window.consume(count):
                self._output += frames.words(Type.WINDOW_UPDATE, id_, granted)

    def ping(self) -> None:
        """A ping, of which the answer is ignored: a client that has died answers with the end of the connection."""
        if not self.closed:
            self._output += frames.words(Type.PING, 2)

    def go_away(self, status: Away = Away.OK) -> None:
        """End the connection. Go's client reads nothing that follows."""
        if not self.closed:
            self.closed = True
            self._streams.clear()
            self._output += frames.words(Type.GOAWAY, self._last, status)

    def _forget(self, stream: int, found: _Stream) -> None:
        if found.finished and found.peer_finished:
            del self._streams[stream]

    def _data(self, frame: Data, events: list[Event]) -> None:
        found = self._streams.get(frame.stream)
        if not self._receive.receive(len(frame.data)):
            self._exceeded()
        if found is None:
            if frame.stream > self._last:
                raise MalformedFrame(f"DATA of stream {frame.stream}, which was never opened")
            # It was under way when the stream was reset.
            self.consumed(frame.stream, len(frame.data))
            return
        if found.peer_finished:
            self.consumed(frame.stream, len(frame.data))
            self._refuse(frame.stream, Reset.STREAM_ALREADY_CLOSED, events)
            return
        if not found.receive.receive(len(frame.data)):
            self._exceeded()
        if frame.data:
            events.append(Received(frame.stream, frame.data))
        if frame.fin:
            self._finish_peer(frame.stream, found, events)

    def _exceeded(self) -> None:
        """The client sent more than its window. Raises MalformedFrame, unless it has none."""
        if self._windowed and not self._unwindowed:
            raise MalformedFrame("more data than the window allows")
        self._unwindowed = True

    def _finish_peer(self, stream: int, found: _Stream, events: list[Event]) -> None:
        found.peer_finished = True
        events.append(Finished(stream))
        self._forget(stream, found)

    def _refuse(self, stream: int, status: Reset, events: list[Event]) -> None:
        self.reset(stream, status)
        events.append(WasReset(stream))

    def _control(self, frame: Control, events: list[Event]) -> None:
        match frame.type:
            case Type.SYN_STREAM:
                self._syn_stream(frame, events)
            case Type.HEADERS:
                self._headers(frame, events)
            case Type.RST_STREAM:
                if self._streams.pop(frame.stream(), None) is not None:
                    events.append(WasReset(frame.stream()))
            case Type.PING:
                # Even ids are answers to ours.
                if frame.word(0) % 2:
                    self._output += frames.words(Type.PING, frame.word(0))
            case Type.SETTINGS:
                self._settings(frame, events)
            case Type.WINDOW_UPDATE:
                self._window_update(frame, events)
            case Type.GOAWAY:
                events.append(GoneAway())
            case Type.SYN_REPLY:
                raise MalformedFrame("SYN_REPLY without a stream that was opened")

    def _syn_stream(self, frame: Control, events: list[Event]) -> None:
        stream = frame.stream()
        headers = self._decoder.decode(frame.payload[10:])
        if not stream % 2 or stream <= self._last:
            raise MalformedFrame(f"SYN_STREAM with id {stream} after {self._last}")
        self._last = stream
        if len(self._streams) >= self._max_streams:
            self._output += frames.words(Type.RST_STREAM, stream, Reset.REFUSED_STREAM)
            return
        found = self._streams[stream] = _Stream(SendWindow(self._initial), finished=bool(frame.flags & UNIDIRECTIONAL))
        events.append(Opened(stream, headers))
        if frame.flags & FIN:
            self._finish_peer(stream, found, events)

    def _headers(self, frame: Control, events: list[Event]) -> None:
        """Later headers have no meaning here, but pass through the decoder, and may end the client's direction."""
        self._decoder.decode(frame.payload[4:])
        found = self._streams.get(frame.stream())
        if found is None:
            return
        if found.peer_finished:
            self._refuse(frame.stream(), Reset.STREAM_ALREADY_CLOSED, events)
        elif frame.flags & FIN:
            self._finish_peer(frame.stream(), found, events)

    def _settings(self, frame: Control, events: list[Event]) -> None:
        for id_, value in frame.settings():
            if id_ == frames.INITIAL_WINDOW_SIZE:
                if value > frames.MAX_WINDOW:
                    raise MalformedFrame(f"an initial window of {value} bytes")
                self._resize(value)
                events.append(WindowOpened())

    def _resize(self, initial: int) -> None:
        self._windowed = True
        change, self._initial = initial - self._initial, initial
        for found in self._streams.values():
            found.send.left = min(found.send.left + change, frames.MAX_WINDOW)

    def _window_update(self, frame: Control, events: list[Event]) -> None:
        stream, count = frame.stream(), frame.word(1) & frames.MAX_WINDOW
        self._windowed = True
        if not stream:
            if not self._send.open(count):
                raise MalformedFrame(f"a WINDOW_UPDATE of {count} bytes for the connection")
        elif (found := self._streams.get(stream)) is not None and not found.send.open(count):
            self._refuse(stream, Reset.FLOW_CONTROL_ERROR, events)
        events.append(WindowOpened())
