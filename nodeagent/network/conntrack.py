"""Tracked connections (ctnetlink): what names one to the kernel, where it leads, and its end.

A node may track as many as its memory holds (`nf_conntrack_max`, 262,144 and more), so the kernel lists those of one protocol,
and each is judged by the first bytes of its message, which it writes in one order: parsing it takes 20 times as long.

Source: linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h; numbers in them are in network byte order. CTA_FILTER: Linux 5.8.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from nodeagent.network import nlsocket
from nodeagent.network.nlsocket import Message, Request, attribute, nested

# The protocol of the socket.
NETFILTER = 12
# Of the subsystem of connection tracking, 1.
_GET, _DELETE = 0x101, 0x102
_HEADER = struct.Struct("=BBH")
_ORIGINAL, _REPLY, _ID, _FILTER = 1, 2, 12, 25
_ADDRESS_PART, _PROTOCOL_PART = 1, 2
_PROTOCOL, _FROM_PORT, _TO_PORT = 1, 2, 3
# Of a filter: bits of the parts of the original tuple that count (net/netfilter/nf_internals.h); that of the protocol's number.
_FILTER_ORIGINAL, _BY_PROTOCOL = 1, 1 << 3
# Of one call to the kernel.
_DELETIONS = 100
# Of a tuple's address part: source and destination, by family.
_ADDRESSES = {socket.AF_INET: (1, 2), socket.AF_INET6: (3, 4)}


@dataclass(frozen=True, slots=True)
class Flow:
    """A connection: where its first packet went, and what names it to the kernel. `port` is 0 where there is none."""

    family: int
    protocol: int
    port: int
    original: bytes
    id: bytes


def flow_of(message: Message) -> Flow:
    family, _, _ = _HEADER.unpack_from(message.body)
    entry = nlsocket.attributes(message.body[_HEADER.size :])
    original = entry.get(_ORIGINAL, b"")
    part = nlsocket.attributes(nlsocket.attributes(original).get(_PROTOCOL_PART, b""))
    protocol, port = int.from_bytes(part.get(_PROTOCOL, b""), "big"), int.from_bytes(part.get(_TO_PORT, b""), "big")
    return Flow(family, protocol, port, original, entry.get(_ID, b""))


class Ends(NamedTuple):
    """Of a connection: where its first packet was sent to, and what answers, which is another if it was translated. Both are
    an address and a port, packed (see `packed`)."""

    protocol: int
    to: bytes
    answering: bytes


def packed(address: str, port: int) -> bytes:
    """Raises OSError for a text that is no address."""
    return nlsocket.ip_bytes(address) + port.to_bytes(2, "big")


class Kernel(Protocol):
    """A socket of the protocol NETFILTER."""

    def run(self, *requests: Request) -> list[Message]: ...
    def dump(self, request: Request, *, keep: Callable[[bytes], bool] | None = None) -> list[Message]: ...


@dataclass(frozen=True, slots=True)
class _Layout:
    """Of the kernel's messages about connections of one address family: its header, the original tuple, that of the reply.
    In both structures the headers of attributes are `headers`, and stand before what they are of. `size` is that of an
    address."""

    original: struct.Struct
    reply: struct.Struct
    headers: tuple[bytes, ...]
    reply_headers: tuple[bytes, ...]


def _layout(size: int, source: int, destination: int) -> _Layout:
    """`source` and `destination`: the types of their attributes."""
    address, addresses, protocol = 4 + size, 4 + 2 * (4 + size), 4 + 3 * 8
    start = [_head(addresses, _ADDRESS_PART, nest=True) + _head(address, source), _head(address, destination)]
    rest = [_head(protocol, _PROTOCOL_PART, nest=True), _head(5, _PROTOCOL), _head(6, _FROM_PORT), _head(6, _TO_PORT)]
    nests = [_head(4 + addresses + protocol, type_, nest=True) for type_ in (_ORIGINAL, _REPLY)]
    original = struct.Struct(f"={_HEADER.size}x 12s{size}x4s{size}s 4s4sB3x 4s4x 4s2s2x")
    reply = struct.Struct(f"={original.size}x 12s{size}s4s{size}x 4s4sB3x 4s2s2x 4s4x")
    return _Layout(original, reply, (nests[0] + start[0], start[1], *rest), (nests[1] + start[0], start[1], *rest))


def _head(length: int, type_: int, *, nest: bool = False) -> bytes:
    return struct.pack("=HH", length, type_ | (nlsocket.NESTED if nest else 0))


_LAYOUTS: dict[int, _Layout] = {
    family: _layout(size, *_ADDRESSES[family]) for family, size in ((socket.AF_INET, 4), (socket.AF_INET6, 16))
}


def matching(protocol: int, judge: Callable[[Ends], bool], sent_to: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
    """Whether a message is of a connection of this protocol which both accept; `sent_to` gets `Ends.to` before the rest is
    parsed. To be called with each message of a listing."""

    def matches(body: bytes) -> bool:
        layout = _LAYOUTS.get(body[0])
        if layout is None or len(body) < layout.reply.size:
            return slowly(body)
        nest, to_head, address, part, number_head, number, from_head, port_head, port = layout.original.unpack_from(body)
        if (nest, to_head, number_head) != (layout.headers[0], layout.headers[1], layout.headers[3]):
            return slowly(body)
        if number != protocol:
            return False
        if (part, from_head, port_head) != (layout.headers[2], layout.headers[4], layout.headers[5]):
            return slowly(body)
        if not sent_to(to := address + port):
            return False
        nest, source, to_head, part, number_head, number, from_head, port, port_head = layout.reply.unpack_from(body)
        if (nest, to_head, part, number_head, from_head, port_head) != layout.reply_headers:
            return slowly(body)
        return judge(Ends(number, to, source + port))

    def slowly(body: bytes) -> bool:
        ends = ends_of(body)
        return ends is not None and ends.protocol == protocol and sent_to(ends.to) and judge(ends)

    return matches


def ends_of(body: bytes) -> Ends | None:
    """In whatever order the message has its parts. None for one without addresses."""
    family, _, _ = _HEADER.unpack_from(body)
    entry = nlsocket.attributes(body[_HEADER.size :])
    if family not in _ADDRESSES:
        return None
    source, destination = _ADDRESSES[family]
    ends, protocol = list[bytes](), 0
    for direction, address, port in ((_ORIGINAL, destination, _TO_PORT), (_REPLY, source, _FROM_PORT)):
        parts = nlsocket.attributes(entry.get(direction, b""))
        raw = nlsocket.attributes(parts.get(_ADDRESS_PART, b"")).get(address)
        if raw is None:
            return None
        numbers = nlsocket.attributes(parts.get(_PROTOCOL_PART, b""))
        protocol = int.from_bytes(numbers.get(_PROTOCOL, b""), "big")
        ends.append(raw + numbers.get(port, b"\0\0"))
    return Ends(protocol, *ends)


def list_flows(protocol: int = 0, family: int = socket.AF_UNSPEC) -> Request:
    """All; or those of one protocol and address family, if the kernel can tell: an old one lists all of the family."""
    body = _HEADER.pack(family, 0, 0)
    if protocol:
        number = attribute(_PROTOCOL, protocol.to_bytes(1, "big"))
        body += nested(_ORIGINAL, nested(_PROTOCOL_PART, number))
        body += nested(_FILTER, nlsocket.number(_FILTER_ORIGINAL, _BY_PROTOCOL))
    return Request(_GET, body)


def del_flow(flow: Flow) -> Request:
    """One that has ended by itself is no error. By its id too: one that came after it is another."""
    body = _HEADER.pack(flow.family, 0, 0) + nested(_ORIGINAL, flow.original)
    return Request(_DELETE, body + (attribute(_ID, flow.id) if flow.id else b""), tolerated=(errno.ENOENT,))


def end(kernel: Kernel, messages: Iterable[Message]) -> int:
    """Delete listed connections; returns their number. Raises OSError."""
    requests = [del_flow(flow_of(message)) for message in messages]
    for start in range(0, len(requests), _DELETIONS):
        kernel.run(*requests[start : start + _DELETIONS])
    return len(requests)


def delete_sent_to(kernel: Kernel, ports: Collection[tuple[int, int]]) -> int:
    """Delete the connections whose first packet went to one of these, each a protocol and a port; returns their number. Raises
    OSError."""
    ended = 0
    for protocol in sorted({protocol for protocol, _ in ports}):
        matches = _sent_to(protocol, {port.to_bytes(2, "big") for other, port in ports if other == protocol})
        for family in _LAYOUTS:
            ended += end(kernel, kernel.dump(list_flows(protocol, family), keep=matches))
    return ended


def _sent_to(protocol: int, ports: Collection[bytes]) -> Callable[[bytes], bool]:
    return matching(protocol, lambda ends: True, lambda to: to[-2:] in ports)
