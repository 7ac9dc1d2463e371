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
_ORIGINAL, _ID = 1, 12
_PROTOCOL_PART, _PROTOCOL, _TO_PORT = 2, 1, 3


@dataclass(frozen=True, slots=True)
class Flow:
    """An IPv4 connection: where its first packet went, and what names it to the kernel. `port` is 0 where there is none."""

    protocol: int
    port: int
    original: bytes
    id: bytes


def flow_of(message: Message) -> Flow:
    entry = nlsocket.attributes(message.body[_HEADER.size :])
    original = entry.get(_ORIGINAL, b"")
    part = nlsocket.attributes(nlsocket.attributes(original).get(_PROTOCOL_PART, b""))
    protocol, port = int.from_bytes(part.get(_PROTOCOL, b""), "big"), int.from_bytes(part.get(_TO_PORT, b""), "big")
    return Flow(protocol, port, original, entry.get(_ID, b""))


def list_flows() -> Request:
    return Request(_GET, _HEADER.pack(socket.AF_INET, 0, 0))


def del_flow(flow: Flow) -> Request:
    """One that has ended by itself is no error. By its id too: one that came after it is another."""
    body = _HEADER.pack(socket.AF_INET, 0, 0) + nested(_ORIGINAL, flow.original)
    return Request(_DELETE, body + (attribute(_ID, flow.id) if flow.id else b""), tolerated=(errno.ENOENT,))


def forget(protocol: int, port: int) -> None:
    """Delete the IPv4 connections whose first packet went to this port. Raises OSError."""
    with NetlinkSocket(NETFILTER) as kernel:
        for flow in map(flow_of, kernel.dump(list_flows())):
            if (flow.protocol, flow.port) == (protocol, port):
                kernel.run(del_flow(flow))
