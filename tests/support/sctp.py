"""SCTP packets made by hand (RFC 9260), for kernels that forward SCTP but have no sockets of it."""

from __future__ import annotations

import socket
import struct

_SOURCE_PORT = 40000
# The polynomial of CRC32c, bits reversed.
_POLYNOMIAL = 0x82F63B78


def crc32c(data: bytes) -> int:
    found = 0xFFFFFFFF
    for byte in data:
        found ^= byte
        for _ in range(8):
            found = found >> 1 ^ (_POLYNOMIAL if found & 1 else 0)
    return found ^ 0xFFFFFFFF


def init(port: int) -> bytes:
    """The first packet of an association; tracking wants a checksum that is right."""
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 1, 65536, 1, 1, 1)
    header = struct.pack("!HHI", _SOURCE_PORT, port, 0)
    checksum = crc32c(header + bytes(4) + chunk)
    return header + struct.pack("<I", checksum) + chunk


def listening() -> socket.socket:
    """Gets every SCTP packet that comes to this namespace."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP)
    sock.settimeout(5)
    return sock


def send_init(address: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP) as sock:
        sock.sendto(init(port), (address, 0))


def received_port(sock: socket.socket) -> int:
    """The port that the next packet is for. Raises TimeoutError."""
    data = sock.recv(2048)
    start = (data[0] & 15) * 4
    return int(struct.unpack_from("!H", data, start + 2)[0])
