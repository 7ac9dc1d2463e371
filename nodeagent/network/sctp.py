"""The first packet of an SCTP association and the answer to it, made by hand: kernels may lack SCTP sockets. RFC 9260. Pure."""

from __future__ import annotations

import struct

# Chunk types.
_INIT, _INIT_ACK, _ABORT = 1, 2, 6
_HEADER = struct.Struct("!HHI")
# CRC32c's polynomial, bits reversed.
_POLYNOMIAL = 0x82F63B78


def init(source_port: int, port: int) -> bytes:
    """A packet with an INIT of one stream. An INIT ACK to it leaves no state at either end."""
    chunk = struct.pack("!BBHIIHHI", _INIT, 0, 20, 1, 1 << 16, 1, 1, 1)
    header = _HEADER.pack(source_port, port, 0)
    # Connection tracking drops packets whose checksum is wrong.
    return header + struct.pack("<I", _crc32c(header + bytes(4) + chunk)) + chunk


def answer(data: bytes, source_port: int, port: int) -> str:
    """What a packet, without its IP header, says to the `init` with these ports; empty: nothing."""
    if len(data) < 16 or _HEADER.unpack_from(data)[:2] != (port, source_port):
        return ""
    return {_INIT_ACK: "answered with INIT ACK", _ABORT: "answered with ABORT"}.get(data[12], "")


def _crc32c(data: bytes) -> int:
    found = 0xFFFFFFFF
    for byte in data:
        found ^= byte
        for _ in range(8):
            found = found >> 1 ^ (_POLYNOMIAL if found & 1 else 0)
    return found ^ 0xFFFFFFFF
