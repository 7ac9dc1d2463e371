"""Addresses, routes and neighbours of rtnetlink(7): requests as values, and what the kernel answers. Pure.

What is not named in a request is left to the kernel. IP and MAC addresses are text, as everywhere in the agent.
Source: linux/rtnetlink.h, if_addr.h, neighbour.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass

from nodeagent.network import nlsocket
from nodeagent.network.nlsocket import CREATE, EXCL, REPLACE, Message, Request, attribute

_NEW_ADDRESS, _DEL_ADDRESS, _GET_ADDRESS = 20, 21, 22
_NEW_ROUTE, _DEL_ROUTE, _GET_ROUTE = 24, 25, 26
_NEW_NEIGHBOUR, _DEL_NEIGHBOUR, _GET_NEIGHBOUR = 28, 29, 30
_ADDRESS, _ROUTE = struct.Struct("=BBBBI"), struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 1, 4, 5, 6
_NDA_DST, _NDA_MAC = 1, 2
_MAIN_TABLE, _STATIC, UNICAST, BLACKHOLE = 254, 4, 1, 6
ONLINK = 4
# linux/neighbour.h: an entry that stays; one of a port that stays; of the bridge of a device, or of the device itself.
PERMANENT, NOARP = 0x80, 0x40
_MASTER_FDB, _SELF_FDB = 0x04, 0x02
# linux/socket.h
_BRIDGE_FAMILY = 7


# Addresses


@dataclass(frozen=True, slots=True)
class Address:
    """Of a link by index."""

    index: int
    address: str
    length: int


def address_of(message: Message) -> Address:
    _, length, _, _, index = _ADDRESS.unpack_from(message.body)
    found = nlsocket.attributes(message.body[_ADDRESS.size :])
    return Address(index, nlsocket.ipv4_text(found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)), length)


def list_addresses() -> Request:
    return Request(_GET_ADDRESS, _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0))


def add_address(item: Address, *, tolerated: tuple[int, ...] = ()) -> Request:
    return Request(_NEW_ADDRESS, _address(item), CREATE | EXCL, tolerated)


def del_address(item: Address) -> Request:
    return Request(_DEL_ADDRESS, _address(item))


def _address(item: Address) -> bytes:
    packed = socket.inet_aton(item.address)
    header = _ADDRESS.pack(socket.AF_INET, item.length, 0, 0, item.index)
    return header + attribute(_IFA_ADDRESS, packed) + attribute(_IFA_LOCAL, packed)


# Routes


@dataclass(frozen=True, slots=True)
class Route:
    """`dst` is a CIDR; `gateway` and `oif` are empty and 0 for none. `protocol` says who made it."""

    dst: str
    gateway: str = ""
    oif: int = 0
    type: int = UNICAST
    protocol: int = _STATIC
    priority: int = 0
    flags: int = 0


def route_of(message: Message) -> Route:
    _, length, _, _, _, protocol, _, type_, flags = _ROUTE.unpack_from(message.body)
    found = nlsocket.attributes(message.body[_ROUTE.size :])
    dst = f"{nlsocket.ipv4_text(found.get(_RTA_DST, bytes(4)))}/{length}"
    oif, priority = nlsocket.unsigned(found.get(_RTA_OIF)), nlsocket.unsigned(found.get(_RTA_PRIORITY))
    return Route(dst, nlsocket.ipv4_text(found.get(_RTA_GATEWAY)), oif, type_, protocol, priority, flags)


def list_routes() -> Request:
    return Request(_GET_ROUTE, _ROUTE.pack(socket.AF_INET, *[0] * 8))


def add_route(route: Route, *, tolerated: tuple[int, ...] = ()) -> Request:
    return Request(_NEW_ROUTE, _route(route), CREATE | EXCL, tolerated)


def replace_route(route: Route) -> Request:
    return Request(_NEW_ROUTE, _route(route), CREATE | REPLACE)


def del_route(route: Route) -> Request:
    """One that is not there is no error."""
    return Request(_DEL_ROUTE, _route(route), tolerated=(errno.ESRCH,))


def _route(route: Route) -> bytes:
    dst, _, length = route.dst.partition("/")
    parts = [
        _ROUTE.pack(socket.AF_INET, int(length), 0, 0, _MAIN_TABLE, route.protocol, 0, route.type, route.flags),
        attribute(_RTA_DST, socket.inet_aton(dst)) if int(length) else b"",
        attribute(_RTA_GATEWAY, socket.inet_aton(route.gateway)) if route.gateway else b"",
        nlsocket.number(_RTA_OIF, route.oif) if route.oif else b"",
        nlsocket.number(_RTA_PRIORITY, route.priority) if route.priority else b"",
    ]
    return b"".join(parts)


# Neighbours and forwarding entries


@dataclass(frozen=True, slots=True)
class Entry:
    """A neighbour, or a forwarding entry of a bridge or VXLAN device. `dst` and `mac` are empty for none."""

    index: int
    dst: str
    mac: str
    state: int = PERMANENT


def entry_of(message: Message) -> Entry:
    _, index, state, _, _ = _NEIGHBOUR.unpack_from(message.body)
    found = nlsocket.attributes(message.body[_NEIGHBOUR.size :])
    return Entry(index, nlsocket.ipv4_text(found.get(_NDA_DST)), nlsocket.mac_text(found.get(_NDA_MAC, b"")), state)


def list_neighbours() -> Request:
    return Request(_GET_NEIGHBOUR, _NEIGHBOUR.pack(socket.AF_INET, 0, 0, 0, 0))


def list_fdb() -> Request:
    return Request(_GET_NEIGHBOUR, _NEIGHBOUR.pack(_BRIDGE_FAMILY, 0, 0, 0, 0))


def replace_neighbour(entry: Entry) -> Request:
    return Request(_NEW_NEIGHBOUR, _entry(entry, socket.AF_INET, 0), CREATE | REPLACE)


def del_neighbour(entry: Entry) -> Request:
    """One that is not there is no error."""
    return Request(_DEL_NEIGHBOUR, _entry(entry, socket.AF_INET, 0), tolerated=(errno.ENOENT,))


def add_port_entry(index: int, mac: str) -> Request:
    """Have the bridge of a port know that an address is at it, for good. One that is there is no error."""
    body = _entry(Entry(index, "", mac, NOARP), _BRIDGE_FAMILY, _MASTER_FDB)
    return Request(_NEW_NEIGHBOUR, body, CREATE | EXCL, (errno.EEXIST,))


def replace_fdb(entry: Entry) -> Request:
    """An entry of a device's own, in place of that of its MAC address. (To append one to a unicast address has no effect, and
    is no error.)"""
    return Request(_NEW_NEIGHBOUR, _entry(entry, _BRIDGE_FAMILY, _SELF_FDB), CREATE | REPLACE)


def del_fdb(entry: Entry) -> Request:
    """One that is not there is no error."""
    return Request(_DEL_NEIGHBOUR, _entry(entry, _BRIDGE_FAMILY, _SELF_FDB), tolerated=(errno.ENOENT,))


def _entry(entry: Entry, family: int, flags: int) -> bytes:
    parts = [_NEIGHBOUR.pack(family, entry.index, entry.state, flags, 0)]
    parts += [attribute(_NDA_DST, socket.inet_aton(entry.dst))] if entry.dst else []
    parts += [attribute(_NDA_MAC, nlsocket.mac_bytes(entry.mac))] if entry.mac else []
    return b"".join(parts)
