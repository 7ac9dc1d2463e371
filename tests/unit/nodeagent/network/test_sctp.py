"""SCTP probes: the packet that is sent, and what is an answer to it."""

from __future__ import annotations

import struct

import pytest

from nodeagent.network import sctp
from tests.support.sctp import crc32c


def answer(kind: int, *, source: int = 132, port: int = 40_000) -> bytes:
    return struct.pack("!HHII", source, port, 1, 0) + bytes((kind, 0, 0, 4))


def test_an_init_has_its_ports_and_checksum() -> None:
    """CRC32c, in the byte order of RFC 9260; its value for a known text is that of RFC 3720."""
    packet = sctp.init(40_000, 132)
    assert struct.unpack_from("!HHI", packet) == (40_000, 132, 0)
    assert packet[12] == 1
    assert packet[8:12] == struct.pack("<I", crc32c(packet[:8] + bytes(4) + packet[12:]))
    assert sctp._crc32c(bytes(32)) == 0x8A9136AA


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (answer(2), "answered with INIT ACK"), (answer(6), "answered with ABORT"), (answer(1), ""), (answer(2, source=133), ""),
        (answer(2, port=40_001), ""), (answer(2)[:15], ""), (b"", ""),
    ],
)  # fmt: skip
def test_an_answer_is_of_the_same_association(data: bytes, expected: str) -> None:
    assert sctp.answer(data, 40_000, 132) == expected
