"""A name server for tests: A records of a dictionary, over UDP and TCP, on sockets that the test has opened."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_A, _SOA = 1, 6


@dataclass
class NameServer:
    """`records` maps a name to addresses; `large` are those whose UDP answers are cut (TC); `asked` what came, with its way.
    Negative answers have an SOA record with the TTL `negative_ttl`, or none."""

    records: dict[str, list[str]]
    large: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)
    negative_ttl: int = 0
    # Further answers for each query, sent before the right one.
    forged: list[bytes] = field(default_factory=list)

    def answer(self, query: bytes, way: str) -> bytes:
        name, end = _name(query)
        self.asked.append((name, way))
        kind = struct.unpack("!H", query[end : end + 2])[0]
        addresses = self.records.get(name, []) if kind == _A else []
        code = 0 if name in self.records else 3
        cut = way == "udp" and name in self.large
        flags = 0x8180 | (0x0200 if cut else 0) | code
        body = b""
        for address in [] if cut else addresses:
            body += b"\xc0\x0c" + struct.pack("!HHIH", _A, 1, 60, 4) + socket.inet_aton(address)
        negative = bool(self.negative_ttl) and not addresses
        if negative:
            numbers = struct.pack("!5I", 1, 2, 3, 4, self.negative_ttl)
            body += b"\0" + struct.pack("!HHIH", _SOA, 1, self.negative_ttl, 22) + b"\0\0" + numbers
        counts = struct.pack("!4H", 1, 0 if cut else len(addresses), int(negative), 0)
        return query[:2] + struct.pack("!H", flags) + counts + query[12 : end + 4] + body


def _name(message: bytes) -> tuple[str, int]:
    """The question's name, and where its type begins."""
    labels, at = [], 12
    while message[at]:
        labels.append(message[at + 1 : at + 1 + message[at]].decode())
        at += 1 + message[at]
    return ".".join(labels).lower(), at + 1


def question(name: str, number: int = 0x1234, kind: int = _A) -> bytes:
    """A query for one name, recursion desired."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


@contextmanager
def serving(found: NameServer, udp: socket.socket, tcp: socket.socket) -> Iterator[NameServer]:
    """Answer on bound sockets, of which `tcp` listens, until the end."""

    def datagrams() -> None:
        with contextlib.suppress(OSError):
            while True:
                query, peer = udp.recvfrom(4096)
                if not query:
                    return
                for forged in found.forged:
                    udp.sendto(forged, peer)
                udp.sendto(found.answer(query, "udp"), peer)

    def streams() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = tcp.accept()
                with connection:
                    size = int.from_bytes(connection.recv(2, socket.MSG_WAITALL), "big")
                    response = found.answer(connection.recv(size, socket.MSG_WAITALL), "tcp")
                    connection.sendall(len(response).to_bytes(2, "big") + response)

    threads = [threading.Thread(target=work, daemon=True) for work in (datagrams, streams)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        for sock in (udp, tcp):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)
        udp.close()
        tcp.close()


def sockets(address: str, port: int = 0) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP on the same port of an address, in the network namespace of the caller."""
    tcp = socket.create_server((address, port))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((address, tcp.getsockname()[1]))
    return udp, tcp
