"""SPDY/3.1 without I/O: what a client may send, what it may not, and how much memory it costs."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.rest.streams import spdyframes as frames
from controlplane.rest.streams.spdy import CHUNK, SpdyServer
from controlplane.rest.streams.spdyevents import Event, Failed, Finished, GoneAway, Opened, Received, WasReset
from controlplane.rest.streams.spdyframes import FIN, INITIAL_WINDOW_SIZE, MAX_CONTROL, MAX_WINDOW, Reset, Type
from controlplane.rest.streams.spdyheaders import DICTIONARY, MAX_BLOCK, HeaderEncoder
from controlplane.rest.streams.spdywindows import INITIAL
from tests.support.spdyclient import SpdyClient

STDIN = {"streamtype": "stdin"}


class Pair:
    """A client and a server that talk to each other."""

    def __init__(self, max_streams: int = 8) -> None:
        self.server = SpdyServer(max_streams)
        self.client = SpdyClient()

    def send(self, data: bytes) -> list[Event]:
        return self.server.receive(data)

    def open(self, *, fin: bool = False) -> int:
        stream, data = self.client.open(STDIN, fin=fin)
        assert self.send(data)[:1] == [Opened(stream, STDIN)]
        return stream

    def replies(self) -> list[tuple[object, ...]]:
        return self.client.read(self.server.output())


def test_the_dictionary_is_the_published_one() -> None:
    """SPDY/3's dictionary is known by its length and checksum."""
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


# Bytes that kubectl 1.29 sent for `kubectl exec -i POD -- cat`, with "hello" as its input.
KUBECTL = bytes.fromhex(
    "80030001000000290000000100000000000078f9e3c6a7c26260606004a7b392a2d4c45c6851c29a0a0a6800000000ffff"
    "800300010000001700000003000000000000c22e555c92929907000000ffff"
    "80030001000000190000000500000000""0000c22ac5565c92925f5a02000000ffff"
    "80030001000000150000000700000000""0000c229975a5404000000ffff"
    "000000030000000668656c6c6f0a" "0000000301000000"
    "80030003000000080000000500000005" "80030003000000080000000700000005"
    "80030003000000080000000100000005" "80030007000000080000000000000000"
)  # fmt: skip


def test_what_kubectl_sends_is_read() -> None:
    """Bytes of another implementation: four streams with one zlib stream for their headers, input, resets and GOAWAY."""
    server = SpdyServer(8)
    types = {1: "error", 3: "stdin", 5: "stdout", 7: "stderr"}
    assert server.receive(KUBECTL) == [
        *(Opened(stream, {"streamtype": type_}) for stream, type_ in types.items()),
        Received(3, b"hello\n"), Finished(3), WasReset(5), WasReset(7), WasReset(1), GoneAway(),
    ]  # fmt: skip
    assert server.output() == b""


def test_streams_are_accepted_carry_data_and_end_in_both_directions() -> None:
    """The usual life of an exec's streams, and no state of them is left."""
    pair = Pair()
    first, second = pair.open(), pair.open()
    pair.server.reply(first)
    pair.server.reply(second)
    assert pair.replies() == [("SYN_REPLY", first, {}), ("SYN_REPLY", second, {})]
    assert pair.send(frames.data(first, b"abc") + frames.data(first, b"", fin=True)) == [
        Received(first, b"abc"), Finished(first),
    ]  # fmt: skip
    pair.server.send(first, b"out")
    pair.server.finish(first)
    assert pair.replies() == [("DATA", first, b"out", False), ("DATA", first, b"", True)]
    assert not pair.server.knows(first)
    assert pair.server.knows(second)
    pair.server.send(first, b"late")
    pair.server.finish(first)
    pair.server.reset(first)
    assert pair.replies() == []


def test_a_reset_ends_a_stream_from_either_side() -> None:
    """RST_STREAM of the client is an event, ours is a frame; later data of such streams is dropped."""
    pair = Pair()
    theirs, ours = pair.open(), pair.open()
    assert pair.send(frames.words(Type.RST_STREAM, theirs, Reset.CANCEL)) == [WasReset(theirs)]
    pair.server.reset(ours)
    assert pair.replies() == [("RST_STREAM", ours, Reset.CANCEL)]
    assert pair.send(frames.data(ours, b"under way") + frames.data(theirs, b"too")) == []
    assert not pair.server.is_open(ours)
    assert pair.server.writable(ours) == 0
    assert not pair.server.closed


def test_pings_are_echoed_and_answers_to_ours_are_not() -> None:
    """A client's pings have odd numbers."""
    pair = Pair()
    assert pair.send(b"".join(frames.words(Type.PING, number) for number in (1, 2, 7))) == []
    assert pair.replies() == [("PING", 1), ("PING", 7)]


def test_goaway_of_the_client_is_told_and_ours_is_the_last_word() -> None:
    """After our GOAWAY nothing is read or written."""
    pair = Pair()
    stream = pair.open()
    assert pair.send(frames.words(Type.GOAWAY, 0, 0)) == [GoneAway()]
    pair.server.go_away()
    pair.server.go_away()
    assert pair.replies() == [("GOAWAY", stream, 0)]
    assert pair.send(frames.data(stream, b"x")) == []
    assert pair.server.output() == b""


def test_a_frame_of_16_mib_is_passed_on_in_pieces() -> None:
    """The longest DATA frame costs the memory of what has arrived of it."""
    pair = Pair()
    stream = pair.open()
    length = (1 << 24) - 1
    pair.send(struct.pack("!II", stream, FIN << 24 | length))
    tracemalloc.start()
    received, piece = 0, bytes(64 << 10)
    while received < length:
        events = pair.send(piece[: length - received])
        assert isinstance(events[0], Received)
        received += len(events[0].data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert events[-1] == Finished(stream)
    assert peak < 1 << 20


def test_a_header_block_that_expands_is_refused_before_it_does() -> None:
    """A bomb within the frame's limit: 16 KiB for 16 MiB."""
    encoder = HeaderEncoder()
    block = encoder.encode({"a": "x" * (10 << 20)})
    assert len(block) < MAX_CONTROL
    server = SpdyServer(8)
    tracemalloc.start()
    events = server.receive(frames.syn_stream(1, block))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert events == [Failed(f"header block of more than {MAX_BLOCK} bytes")]
    assert peak < 1 << 20
    assert server.closed


def _block(plain: bytes) -> bytes:
    compressor = zlib.compressobj(zdict=DICTIONARY)
    return compressor.compress(plain) + compressor.flush(zlib.Z_SYNC_FLUSH)


_TWICE = struct.pack("!I", 2) + (struct.pack("!I", 1) + b"a" + struct.pack("!I", 1) + b"b") * 2
HOSTILE = {
    "another version": struct.pack("!II", 1 << 31 | 2 << 16 | Type.PING, 4) + bytes(4),
    "a control frame that is too long": struct.pack("!II", 1 << 31 | 3 << 16 | Type.PING, MAX_CONTROL + 1),
    "no compression": frames.syn_stream(1, b"plain text"),
    "no headers at all": frames.syn_stream(1, b""),
    "a SYN_STREAM of four bytes": frames.control(Type.SYN_STREAM, bytes(4)),
    "more headers than there are": frames.syn_stream(1, _block(struct.pack("!I", 3))),
    "millions of headers": frames.syn_stream(1, _block(struct.pack("!I", 1 << 31))),
    "a header longer than its block": frames.syn_stream(1, _block(struct.pack("!II", 1, 1 << 30))),
    "a header twice": frames.syn_stream(1, _block(_TWICE)),
    "a header without a name": frames.syn_stream(1, _block(struct.pack("!III", 1, 0, 0))),
    "no UTF-8": frames.syn_stream(1, _block(struct.pack("!II", 1, 1) + b"\xff" + struct.pack("!I", 0))),
    "more than the headers": frames.syn_stream(1, _block(struct.pack("!I", 0) + b"x")),
    "a server's number": frames.syn_stream(2, _block(struct.pack("!I", 0))),
    "number 0": frames.syn_stream(0, _block(struct.pack("!I", 0))),
    "an answer to nothing": frames.syn_reply(1, _block(struct.pack("!I", 0))),
    "data of stream 0": frames.data(0, b"x"),
    "data of a stream that was never opened": frames.data(1, b"x"),
    "a short RST_STREAM": frames.control(Type.RST_STREAM, b""),
    "a short PING": frames.control(Type.PING, b"\0"),
    "a short WINDOW_UPDATE": frames.control(Type.WINDOW_UPDATE, bytes(4)),
    "settings that lie about their number": frames.control(Type.SETTINGS, struct.pack("!I", 1 << 28)),
    "an initial window that is too large": frames.settings((INITIAL_WINDOW_SIZE, 1 << 31)),
    "a window that grows too large": frames.words(Type.WINDOW_UPDATE, 0, MAX_WINDOW),
    "a window that does not grow": frames.words(Type.WINDOW_UPDATE, 0, 0),
    "broken headers of a stream that is unknown": frames.control(Type.HEADERS, bytes(4) + b"plain"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_connections_mistake_ends_it_with_goaway(name: str) -> None:
    """Whatever is wrong with the connection as a whole: one event, GOAWAY with PROTOCOL_ERROR, and silence."""
    pair = Pair()
    events = pair.send(HOSTILE[name])
    assert len(events) == 1
    assert isinstance(events[0], Failed)
    assert pair.replies() == [("GOAWAY", 0, 1)]
    assert pair.server.closed


def test_numbers_of_streams_grow() -> None:
    """A number that was used before ends the connection, also when its stream has ended."""
    pair = Pair()
    stream = pair.open()
    pair.server.reset(stream)
    assert isinstance(pair.send(pair.client.open(STDIN, id_=stream)[1])[0], Failed)


def test_a_streams_mistake_resets_that_stream_alone() -> None:
    """Data after the end, and a window that grows too large."""
    pair = Pair()
    ended, grown, fine = pair.open(), pair.open(), pair.open()
    pair.send(frames.data(ended, b"", fin=True))
    assert pair.send(frames.data(ended, b"more")) == [WasReset(ended)]
    assert WasReset(grown) in pair.send(frames.words(Type.WINDOW_UPDATE, grown, MAX_WINDOW))
    assert pair.replies() == [
        ("RST_STREAM", ended, Reset.STREAM_ALREADY_CLOSED), ("RST_STREAM", grown, Reset.FLOW_CONTROL_ERROR),
    ]  # fmt: skip
    assert pair.send(frames.data(fine, b"ok")) == [Received(fine, b"ok")]


def test_one_stream_too_many_is_refused_and_the_next_headers_are_still_readable() -> None:
    """The refused block passes through the decompressor like any other."""
    pair = Pair(max_streams=1)
    first = pair.open()
    refused, data = pair.client.open({"streamtype": "stdout"})
    assert pair.send(data) == []
    assert pair.replies() == [("RST_STREAM", refused, Reset.REFUSED_STREAM)]
    pair.server.reset(first)
    third, data = pair.client.open({"streamtype": "stderr"})
    assert pair.send(data) == [Opened(third, {"streamtype": "stderr"})]


def test_windows_of_a_client_that_shows_none_are_not_respected() -> None:
    """spdystream's client sends no WINDOW_UPDATE: 64 KiB would be the last that it gets."""
    pair = Pair()
    stream = pair.open()
    for _ in range(4 * INITIAL // CHUNK):
        assert pair.server.writable(stream) == CHUNK
        pair.server.send(stream, bytes(CHUNK))


def test_windows_that_a_client_shows_are_respected() -> None:
    """The initial size of SETTINGS, a stream's window and the connection's."""
    pair = Pair()
    stream = pair.open()
    pair.send(frames.settings((INITIAL_WINDOW_SIZE, 10)))
    assert pair.server.writable(stream) == 10
    pair.server.send(stream, bytes(10))
    assert pair.server.writable(stream) == 0
    pair.send(frames.words(Type.WINDOW_UPDATE, stream, 7))
    assert pair.server.writable(stream) == 7
    pair.send(frames.settings((INITIAL_WINDOW_SIZE, 0)))
    assert pair.server.writable(stream) == 0
    pair.send(frames.words(Type.WINDOW_UPDATE, stream, 1 << 20))
    for _ in range(2):
        pair.server.send(stream, bytes(pair.server.writable(stream)))
    # The rest of the connection's 64 KiB.
    assert pair.server.writable(stream) == 0
    pair.send(frames.words(Type.WINDOW_UPDATE, 0, 5))
    assert pair.server.writable(stream) == 5


def test_our_windows_open_when_they_are_used_up_and_consumed() -> None:
    """A client that counts gets a stream's window and the connection's, and only then."""
    pair = Pair()
    stream = pair.open()
    pair.send(frames.data(stream, bytes(INITIAL)))
    pair.server.consumed(stream, INITIAL - 1)
    assert pair.replies() == []
    pair.server.consumed(stream, 1)
    assert pair.replies() == [("WINDOW_UPDATE", 0, INITIAL), ("WINDOW_UPDATE", stream, INITIAL)]


def test_a_client_that_ignores_our_windows_gets_no_updates() -> None:
    """They would only fill the queues of spdystream."""
    pair = Pair()
    stream = pair.open()
    pair.send(frames.data(stream, bytes(INITIAL + 1)))
    pair.server.consumed(stream, INITIAL + 1)
    pair.send(frames.data(stream, bytes(4 * INITIAL)))
    pair.server.consumed(stream, 4 * INITIAL)
    assert pair.replies() == []
    assert not pair.server.closed


def test_a_client_that_counts_may_not_exceed_its_window() -> None:
    """It has shown that it knows windows."""
    pair = Pair()
    stream = pair.open()
    pair.send(frames.settings((INITIAL_WINDOW_SIZE, 10)))
    assert isinstance(pair.send(frames.data(stream, bytes(INITIAL + 1)))[-1], Failed)


def _merged(events: list[Event]) -> list[Event]:
    """Adjacent data of a stream as one."""
    out: list[Event] = []
    for event in events:
        if isinstance(event, Received) and out and isinstance(before := out[-1], Received) and before.stream == event.stream:
            out[-1] = Received(event.stream, before.data + event.data)
        else:
            out.append(event)
    return out


CLIENT_FRAMES = st.one_of(
    st.tuples(st.just("open"), st.booleans()),
    st.tuples(st.just("data"), st.integers(0, 9), st.binary(max_size=40), st.booleans()),
    st.tuples(st.just("words"), st.sampled_from(list(Type)), st.lists(st.integers(0, 2**32 - 1), max_size=3)),
    st.tuples(st.just("small"), st.sampled_from(list(Type)), st.lists(st.integers(0, 9), max_size=3)),
    st.tuples(st.just("junk"), st.binary(max_size=40)),
)


def _bytes(script: list[tuple]) -> bytes:  # type: ignore[type-arg]
    client, out = SpdyClient(), b""
    for step in script:
        match step:
            case ("open", fin):
                out += client.open({"streamtype": "data", "port": "80"}, fin=fin)[1]
            case ("data", stream, payload, fin):
                out += frames.data(stream, payload, fin=fin)
            case ("words" | "small", type_, numbers):
                out += frames.words(type_, *numbers)
            case ("junk", data):
                out += data
    return out


@given(st.lists(CLIENT_FRAMES, max_size=20), st.lists(st.integers(1, 50), min_size=1, max_size=10))
@settings(deadline=None)
def test_nothing_that_a_client_sends_raises_and_pieces_do_not_matter(script: list[tuple], sizes: list[int]) -> None:  # type: ignore[type-arg]
    """Frames, wrong ones and noise, in one piece and in many: the same events and the same answers."""
    data = _bytes(script)
    whole, pieces = SpdyServer(4), SpdyServer(4)
    expected, events, position = whole.receive(data), [], 0
    while position < len(data):
        size = sizes[position % len(sizes)]
        events += pieces.receive(data[position : position + size])
        position += size
    assert _merged(events) == _merged(expected)
    answer = whole.output()
    assert pieces.output() == answer
    assert len(answer) <= 2 * len(data) + 64
    assert whole.closed == any(isinstance(event, Failed) for event in expected)


@given(st.binary(max_size=400))
@settings(deadline=None)
def test_noise_is_answered_with_goaway_or_waited_for(data: bytes) -> None:
    """No exception escapes."""
    server = SpdyServer(4)
    server.receive(data)
    assert server.closed == (b"\x80\x03\0\x07" in server.output())
