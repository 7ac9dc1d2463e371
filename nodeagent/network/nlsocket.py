"""netlink(7): a socket to the kernel's network, and the encoding of what goes over it.

It is on the way of every pod, which takes about a dozen requests: as values they cost some 10 µs each, and those that do not
depend on each other's answers go to the kernel in one call. A general library builds each message from tables and takes half a
millisecond of Python for it, ten times what the kernel needs to do it.

Source: linux/netlink.h, and the kernel's "Introduction to Netlink" for extended acknowledgements.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from pinnace import ipfamilies

# Seconds without an answer of the kernel, which waits for its own locks.
TIMEOUT = 20.0
# Bytes of the kernel's longest answer at once.
_CHUNK = 1 << 16
# Tries of a dump that changes interrupt.
_DUMPS = 10
_HEADER, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 0x01, 0x04, 0x300
_DUMP_INTERRUPTED, _HAS_DETAILS = 0x10, 0x200
REPLACE, EXCL, CREATE = 0x100, 0x200, 0x400
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT = 270, 10, 11, 12
NESTED, _TYPE = 0x8000, 0x3FFF
# Extended acknowledgement: the message for people.
_DETAILS_TEXT = 1

Attributes = dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Request:
    """`flags` besides those that every request has; an answer with an error of `tolerated` (errno) is a success."""

    type: int
    body: bytes
    flags: int = 0
    tolerated: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """An answer that is no acknowledgement."""

    type: int
    body: bytes


class NetlinkSocket:
    """Of one protocol, in the network namespace in which this thread is now. Not for two threads at once. Raises OSError."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._numbers = itertools.count(1)
        try:
            for option in (_CAP_ACK, _EXT_ACK):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            if protocol == socket.NETLINK_ROUTE:
                # The kernel then lists what a request names, such as one protocol's routes, since Linux 4.20.
                with contextlib.suppress(OSError):
                    self._socket.setsockopt(_SOL_NETLINK, _STRICT, 1)
            # In the kernel: settimeout would cost a poll for each call.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", int(TIMEOUT), 0))
            self._socket.bind((0, 0))
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, *requests: Request) -> list[Message]:
        """Do all of them, in order, also those after one that fails; returns what they answer.

        Raises OSError of the first that failed, with the kernel's words where it has some."""
        waiting = {next(self._numbers) & 0xFFFFFFFF: request for request in requests}
        if waiting:
            self._send([_packed(request, _ACK, number) for number, request in waiting.items()])
        found, failures = [], list[OSError]()
        while waiting:
            for type_, flags, number, body in self._receive():
                request = waiting.get(number)
                if request is None:
                    # Left by a request that was abandoned before its last answer.
                    continue
                if type_ != _ERROR:
                    found.append(Message(type_, body))
                    continue
                del waiting[number]
                error = _failure(flags, body)
                if error is not None and error.errno not in request.tolerated:
                    failures.append(error)
        if failures:
            raise failures[0]
        return found

    def dump(self, request: Request, *, keep: Callable[[bytes], bool] | None = None) -> list[Message]:
        """All objects that there are of a kind, at one moment; `keep` is called with the body of each, and says whether to
        return it. Raises OSError."""
        for _ in range(_DUMPS):
            found = self._dump(request, keep)
            if found is not None:
                return found
        raise OSError(f"the kernel's tables changed during each of {_DUMPS} readings")

    def _dump(self, request: Request, keep: Callable[[bytes], bool] | None) -> list[Message] | None:
        """None when they changed meanwhile."""
        wanted, found, whole = next(self._numbers) & 0xFFFFFFFF, list[Message](), True
        self._send([_packed(request, _DUMP, wanted)])
        while True:
            for type_, flags, number, body in self._receive():
                if number != wanted:
                    continue
                whole = whole and not flags & _DUMP_INTERRUPTED
                if type_ not in (_ERROR, _DONE):
                    if keep is None or keep(body):
                        found.append(Message(type_, body))
                    continue
                if (error := _failure(flags, body)) is not None:
                    raise error
                return found if whole else None

    def _send(self, messages: Sequence[bytes]) -> None:
        self._socket.sendto(b"".join(messages), (0, 0))

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Type, flags, number and body of the next messages. Raises TimeoutError."""
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            raise TimeoutError(f"the kernel did not answer within {TIMEOUT:.0f} s") from None
        start = 0
        while start + _HEADER.size <= len(data):
            length, type_, flags, number, _ = _HEADER.unpack_from(data, start)
            yield type_, flags, number, data[start + _HEADER.size : start + length]
            start += max(_aligned(length), _HEADER.size)


def _packed(request: Request, flags: int, number: int) -> bytes:
    length = _HEADER.size + len(request.body)
    header = _HEADER.pack(length, request.type, _REQUEST | flags | request.flags, number, 0)
    return header + request.body + bytes(_aligned(length) - length)


def _failure(flags: int, body: bytes) -> OSError | None:
    """Of an acknowledgement, or of the end of a dump."""
    code = -int(struct.unpack_from("=i", body)[0]) if len(body) >= 4 else 0
    if not code:
        return None
    details = attributes(body[4 + _HEADER.size :]) if flags & _HAS_DETAILS else {}
    said = details.get(_DETAILS_TEXT, b"").rstrip(b"\0").decode(errors="replace")
    return OSError(code, f"{os.strerror(code)} ({said})" if said else os.strerror(code))


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def attribute(type_: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, type_) + value + bytes(_aligned(length) - length)


def nested(type_: int, *parts: bytes) -> bytes:
    return attribute(type_ | NESTED, b"".join(parts))


def number(type_: int, value: int) -> bytes:
    """A 32-bit one in the machine's byte order."""
    return attribute(type_, struct.pack("=I", value))


def text(type_: int, value: str) -> bytes:
    return attribute(type_, value.encode() + b"\0")


def attributes(data: bytes) -> Attributes:
    """By type, without the flags of the type; of several of a type the last."""
    return dict(entries(data))


def entries(data: bytes) -> Iterator[tuple[int, bytes]]:
    """All attributes in their order, for nests that repeat a type."""
    start = 0
    while start + _ATTRIBUTE.size <= len(data):
        length, type_ = _ATTRIBUTE.unpack_from(data, start)
        if length < _ATTRIBUTE.size:
            break
        yield type_ & _TYPE, data[start + _ATTRIBUTE.size : start + length]
        start += _aligned(length)


def string(value: bytes | None) -> str:
    """Of a text attribute; empty for none."""
    return (value or b"").rstrip(b"\0").decode(errors="replace")


def unsigned(value: bytes | None) -> int:
    """Of a 32-bit attribute in the machine's byte order; 0 for none."""
    return int.from_bytes(value or b"", sys.byteorder)


def mac_bytes(value: str) -> bytes:
    return bytes.fromhex(value.replace(":", ""))


def mac_text(value: bytes) -> str:
    return value.hex(":")


def ip_bytes(value: str) -> bytes:
    """An address of either family, by its form. Raises OSError."""
    return socket.inet_pton(ip_family(value), value)


def ip_text(value: bytes | None) -> str:
    """As `ipaddress` writes it; empty for other values."""
    family = {4: socket.AF_INET, 16: socket.AF_INET6}.get(len(value or b""))
    return ipfamilies.canonical(socket.inet_ntop(family, value)) if family is not None and value is not None else ""


def ip_family(value: str) -> socket.AddressFamily:
    """The family of an address or a CIDR."""
    return socket.AF_INET6 if ":" in value else socket.AF_INET
