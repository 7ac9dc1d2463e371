"""WebSockets without I/O: messages in pieces, pings, closes, and what breaks RFC 6455; and the channels in them."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from controlplane.rest.streams import channels
from controlplane.rest.streams.channels import ChannelDecoder, Input
from controlplane.rest.streams.websocket import Closed, Piece, ServerWebSocket, accept_token


def client() -> Connection:
    return Connection(ConnectionType.CLIENT)


def answers(peer: Connection, data: bytes) -> list[object]:
    peer.receive_data(data)
    return list(peer.events())


def test_the_key_is_answered_as_in_the_rfc() -> None:
    """The example of RFC 6455, section 1.3; other keys are no keys."""
    assert accept_token("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    for key in ("", "c2hvcnQ=", "no base64!", "dGhlIHNhbXBsZSBub25jZQ==\n"):
        assert accept_token(key) is None


def test_messages_come_in_pieces_text_as_bytes() -> None:
    """A message of two frames, an empty one, and text, which Python's client sends."""
    peer, server = client(), ServerWebSocket()
    data = peer.send(BytesMessage(data=b"ab", message_finished=False)) + peer.send(BytesMessage(data=b"cd"))
    assert server.receive(data) == [Piece(b"ab", first=True, last=False), Piece(b"cd", first=False, last=True)]
    data = peer.send(BytesMessage(data=b"")) + peer.send(TextMessage(data="ü"))
    assert server.receive(data) == [Piece(b"", first=True, last=True), Piece("ü".encode(), first=True, last=True)]


def test_pings_are_answered_in_the_middle_of_a_message() -> None:
    """And a pong of ours needs no ping."""
    peer, server = client(), ServerWebSocket()
    data = (
        peer.send(BytesMessage(data=b"a", message_finished=False))
        + peer.send(Ping(payload=b"5"))
        + peer.send(BytesMessage(data=b"b"))
    )
    assert [piece.data for piece in server.receive(data) if isinstance(piece, Piece)] == [b"a", b"b"]
    server.pong()
    assert answers(peer, server.output()) == [Pong(payload=b"5"), Pong()]


def test_a_close_is_answered_and_ends_everything() -> None:
    """Nothing is received or sent afterwards."""
    peer, server = client(), ServerWebSocket()
    data = peer.send(CloseConnection(code=1000)) + b"\x82\x80\0\0\0\0"
    assert server.receive(data) == [Closed(1000)]
    assert answers(peer, server.output()) == [CloseConnection(code=1000, reason="")]
    server.send(b"late")
    server.pong()
    server.close()
    assert server.output() == b""
    assert server.receive(b"\x82\x80\0\0\0\0") == []


def test_our_close_waits_for_the_peers() -> None:
    """Messages that are still under way are received, but nothing more is sent."""
    peer, server = client(), ServerWebSocket()
    server.send(b"\3{}")
    server.close(1011, "because")
    server.send(b"late")
    assert answers(peer, server.output()) == [
        BytesMessage(data=bytearray(b"\3{}")),
        CloseConnection(code=1011, reason="because"),
    ]
    other = client()
    assert server.receive(other.send(BytesMessage(data=b"x"))) == [Piece(b"x", first=True, last=True)]
    assert server.receive(other.send(CloseConnection(code=1011))) == [Closed(1011)]


WRONG = {
    "no mask": b"\x82\x01a",
    "a reserved opcode": b"\x83\x80\0\0\0\0",
    "a reserved bit": b"\xc2\x80\0\0\0\0",
    "a ping in two frames": b"\x09\x80\0\0\0\0",
    "a ping of 126 bytes": b"\x89\xfe\0\x7e\0\0\0\0",
    "a continuation of nothing": b"\x80\x80\0\0\0\0",
    "a message within a message": b"\x02\x81\0\0\0\0a\x82\x81\0\0\0\0b",
    "a length of 63 bits and one": b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
    "a code that may not be sent": b"\x88\x82\0\0\0\0\x03\xed",
    "a close of one byte": b"\x88\x81\0\0\0\0a",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_breaks_the_rules_closes_the_websocket(name: str) -> None:
    """With PROTOCOL_ERROR, never with an exception."""
    server = ServerWebSocket()
    assert server.receive(WRONG[name])[-1] == Closed(1002)
    assert server.output().startswith(b"\x88")
    assert server.closed


def test_text_that_is_no_utf8_closes_the_websocket() -> None:
    """With its own code, 1007."""
    assert ServerWebSocket().receive(b"\x81\x81\0\0\0\0\xff")[-1] == Closed(1007)


def test_a_message_without_an_end_costs_no_memory() -> None:
    """Its length is 2^62 bytes; what has arrived is passed on."""
    server = ServerWebSocket()
    server.receive(b"\x82\xff" + (1 << 62).to_bytes(8, "big") + bytes(4))
    tracemalloc.start()
    for _ in range(256):
        assert len(server.receive(bytes(64 << 10))) == 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(list(WRONG.values()))), max_size=8), st.integers(1, 30))
@settings(deadline=None)
def test_nothing_that_a_client_sends_raises(parts: list[bytes], size: int) -> None:
    """Noise, after good frames and in pieces of any size; the answers are not longer than what they answer."""
    peer, server = client(), ServerWebSocket()
    data = peer.send(BytesMessage(data=b"\0good")) + peer.send(Ping(payload=b"p")) + b"".join(parts)
    for start in range(0, len(data), size):
        server.receive(data[start : start + size])
    assert len(server.output()) <= len(data) + 130


def test_a_channel_is_the_first_byte_of_its_message() -> None:
    """Not of each piece; a message without a byte has none, and one with the byte alone no data."""
    decoder = ChannelDecoder()
    pieces = [
        Piece(b"", first=True, last=False), Piece(b"\0a", first=False, last=False), Piece(b"\4b", first=False, last=True),
        Piece(b"", first=True, last=True), Piece(b"\4", first=True, last=False), Piece(b"{}", first=False, last=True),
        Piece(b"\1", first=True, last=True), Piece(b"\xff\0", first=True, last=True),
    ]  # fmt: skip
    assert [found for piece in pieces if (found := decoder.decode(piece))] == [
        Input(channels.STDIN, b"a"), Input(channels.STDIN, b"\4b"), Input(channels.RESIZE, b"{}"), Input(channels.CLOSE, b"\0"),
    ]  # fmt: skip
    assert channels.encode(channels.STDERR, b"x") == b"\2x"
