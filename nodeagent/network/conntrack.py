"""Tracked connections (ctnetlink): those to one port of the node, found and deleted.

Source: linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h; numbers in them are in network byte order.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass

from nodeagent.network import nlsocket
from nodeagent.network.nlsocket import Message, NetlinkSocket, Request, attribute, nested

# The protocol of the socket.
NETFILTER = 12
# Of the subsystem of connection tracking, 1.
_GET, _DELETE = 0x101, 0x102
_HEADER = struct.Struct("=BBH")
_ORIGINAL, _REPLY, _ID = 1, 2, 12
_ADDRESS_PART, _PROTOCOL_PART = 1, 2
_PROTOCOL, _FROM_PORT, _TO_PORT = 1, 2, 3
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


@dataclass(frozen=True, slots=True)
class Way:
    """Where a connection's first packet was sent to, and which address and port answer: others, if it was translated."""

    address: str
    port: int
    answering: str
    answering_port: int


def way_of(message: Message) -> Way | None:
    """None for a message without addresses."""
    family, _, _ = _HEADER.unpack_from(message.body)
    entry = nlsocket.attributes(message.body[_HEADER.size :])
    if family not in _ADDRESSES:
        return None
    source, destination = _ADDRESSES[family]
    ends = []
    for direction, address, port in ((_ORIGINAL, destination, _TO_PORT), (_REPLY, source, _FROM_PORT)):
        parts = nlsocket.attributes(entry.get(direction, b""))
        raw = nlsocket.attributes(parts.get(_ADDRESS_PART, b"")).get(address)
        if raw is None:
            return None
        number = nlsocket.attributes(parts.get(_PROTOCOL_PART, b"")).get(port, b"")
        ends.append((nlsocket.ip_text(raw), int.from_bytes(number, "big")))
    return Way(*ends[0], *ends[1])


def list_flows() -> Request:
    """Of both families."""
    return Request(_GET, _HEADER.pack(socket.AF_UNSPEC, 0, 0))


def del_flow(flow: Flow) -> Request:
    """One that has ended by itself is no error. By its id too: one that came after it is another."""
    body = _HEADER.pack(flow.family, 0, 0) + nested(_ORIGINAL, flow.original)
    return Request(_DELETE, body + (attribute(_ID, flow.id) if flow.id else b""), tolerated=(errno.ENOENT,))


def forget(protocol: int, port: int) -> None:
    """Delete the connections whose first packet went to this port. Raises OSError."""
    with NetlinkSocket(NETFILTER) as kernel:
        for flow in map(flow_of, kernel.dump(list_flows())):
            if (flow.protocol, flow.port) == (protocol, port):
                kernel.run(del_flow(flow))
