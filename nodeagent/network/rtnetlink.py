"""Addresses, routes and neighbours of rtnetlink(7), IPv4 and IPv6: requests as values, and what the kernel answers. Pure.

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
_IFA_ADDRESS, _IFA_LOCAL, _IFA_CACHE_INFO, _IFA_FLAGS, _IFA_PROTO = 1, 2, 6, 8, 11
# linux/if_addr.h: an IPv6 address that is usable at once, without duplicate address detection (RFC 4862, section 5.4).
_NO_DAD, _NO_PREFIX_ROUTE = 0x02, 0x200
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE = 1, 4, 5, 6, 15
_NDA_DST, _NDA_MAC, _NDA_PORT, _NDA_VNI, _NDA_IFINDEX, _NDA_NEXT_HOP = 1, 2, 6, 7, 8, 13
MAIN_TABLE, LOCAL_TABLE, _STATIC, UNICAST, LOCAL, BLACKHOLE = 254, 255, 4, 1, 2, 6
# linux/rtnetlink.h: the header has a byte for the table; RT_TABLE_COMPAT says that it has no room for it.
_TABLES, _COMPAT = 256, 252
# linux/rtnetlink.h: anywhere, and this host alone.
_SCOPE_UNIVERSE, SCOPE_HOST = 0, 254
ONLINK = 4
# linux/neighbour.h: an entry that stays; one of a port that stays; of the bridge of a device, or of the device itself.
PERMANENT, NOARP = 0x80, 0x40
_MASTER_FDB, _SELF_FDB = 0x04, 0x02
# linux/socket.h
_BRIDGE_FAMILY = 7


# Addresses


@dataclass(frozen=True, slots=True)
class Address:
    """Of a link by index. `protocol` says who assigned it; 0: unknown, or a kernel before 5.18."""

    index: int
    address: str
    length: int
    protocol: int = 0


def address_of(message: Message) -> Address:
    _, length, _, _, index = _ADDRESS.unpack_from(message.body)
    found = nlsocket.attributes(message.body[_ADDRESS.size :])
    text = nlsocket.ip_text(found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS))
    return Address(index, text, length, found.get(_IFA_PROTO, b"\0")[0])


def list_addresses() -> Request:
    """Of both families."""
    return Request(_GET_ADDRESS, _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0))


def add_address(item: Address, *, scope: int = _SCOPE_UNIVERSE, tolerated: tuple[int, ...] = ()) -> Request:
    return Request(_NEW_ADDRESS, _address(item, scope), CREATE | EXCL, tolerated)


def add_deprecated(item: Address) -> Request:
    """An IPv6 address that is no source of new packets, and has no route of its own. One that is there is no error."""
    # Preferred for 0 seconds, valid for ever. Of the same attribute twice, the kernel takes the last.
    lifetimes = attribute(_IFA_CACHE_INFO, struct.pack("=IIII", 0, 0xFFFFFFFF, 0, 0))
    body = _address(item) + lifetimes + nlsocket.number(_IFA_FLAGS, _NO_DAD | _NO_PREFIX_ROUTE)
    return Request(_NEW_ADDRESS, body, CREATE | EXCL, (errno.EEXIST,))


def del_address(item: Address) -> Request:
    return Request(_DEL_ADDRESS, _address(item))


def _address(item: Address, scope: int = _SCOPE_UNIVERSE) -> bytes:
    family, packed = nlsocket.ip_family(item.address), nlsocket.ip_bytes(item.address)
    header = _ADDRESS.pack(family, item.length, 0, scope, item.index)
    # Those who assign addresses here are the only ones: nothing to detect, and a second of it would delay each pod.
    flags = nlsocket.number(_IFA_FLAGS, _NO_DAD) if family == socket.AF_INET6 else b""
    flags += attribute(_IFA_PROTO, bytes([item.protocol])) if item.protocol else b""
    return header + attribute(_IFA_ADDRESS, packed) + attribute(_IFA_LOCAL, packed) + flags


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
    scope: int = _SCOPE_UNIVERSE
    table: int = MAIN_TABLE
    tos: int = 0


def route_of(message: Message) -> Route:
    family, length, _, tos, table, protocol, scope, type_, flags = _ROUTE.unpack_from(message.body)
    found = nlsocket.attributes(message.body[_ROUTE.size :])
    # The default route has none.
    anywhere = bytes(16 if family == socket.AF_INET6 else 4)
    dst = f"{nlsocket.ip_text(found.get(_RTA_DST, anywhere))}/{length}"
    oif, priority = nlsocket.unsigned(found.get(_RTA_OIF)), nlsocket.unsigned(found.get(_RTA_PRIORITY))
    gateway, table = nlsocket.ip_text(found.get(_RTA_GATEWAY)), nlsocket.unsigned(found.get(_RTA_TABLE)) or table
    return Route(dst, gateway, oif, type_, protocol, priority, flags, scope, table, tos)


def list_routes(family: socket.AddressFamily = socket.AF_INET, protocol: int = 0) -> Request:
    """Of all tables. Kernels before 4.20 list those of other protocols, too."""
    return Request(_GET_ROUTE, _ROUTE.pack(family, 0, 0, 0, 0, protocol, 0, 0, 0))


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
        _ROUTE.pack(
            nlsocket.ip_family(dst),
            int(length),
            0,
            route.tos,
            route.table if route.table < _TABLES else _COMPAT,
            route.protocol,
            route.scope,
            route.type,
            route.flags,
        ),
        attribute(_RTA_DST, nlsocket.ip_bytes(dst)) if int(length) else b"",
        attribute(_RTA_GATEWAY, nlsocket.ip_bytes(route.gateway)) if route.gateway else b"",
        nlsocket.number(_RTA_OIF, route.oif) if route.oif else b"",
        nlsocket.number(_RTA_PRIORITY, route.priority) if route.priority else b"",
        nlsocket.number(_RTA_TABLE, route.table) if route.table >= _TABLES else b"",
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
    # Of a forwarding entry: whether it is the device's own, not the bridge's; and where it sends by another way than the
    # device's, as iproute2 shows it.
    own: bool = False
    odd: str = ""


def entry_of(message: Message) -> Entry:
    _, index, state, flags, _ = _NEIGHBOUR.unpack_from(message.body)
    found = nlsocket.attributes(message.body[_NEIGHBOUR.size :])
    odd = [f" port {int.from_bytes(found[_NDA_PORT], 'big')}"] if _NDA_PORT in found else []
    for key, name in ((_NDA_VNI, "vni"), (_NDA_IFINDEX, "via"), (_NDA_NEXT_HOP, "nhid")):
        odd += [f" {name} {nlsocket.unsigned(found[key])}"] if key in found else []
    dst, mac = nlsocket.ip_text(found.get(_NDA_DST)), nlsocket.mac_text(found.get(_NDA_MAC, b""))
    return Entry(index, dst, mac, state, bool(flags & _SELF_FDB), "".join(odd))


def list_neighbours(family: socket.AddressFamily = socket.AF_INET) -> Request:
    return Request(_GET_NEIGHBOUR, _NEIGHBOUR.pack(family, 0, 0, 0, 0))


def list_fdb() -> Request:
    return Request(_GET_NEIGHBOUR, _NEIGHBOUR.pack(_BRIDGE_FAMILY, 0, 0, 0, 0))


def replace_neighbour(entry: Entry) -> Request:
    return Request(_NEW_NEIGHBOUR, _entry(entry, nlsocket.ip_family(entry.dst), 0), CREATE | REPLACE)


def del_neighbour(entry: Entry) -> Request:
    """One that is not there is no error."""
    return Request(_DEL_NEIGHBOUR, _entry(entry, nlsocket.ip_family(entry.dst), 0), tolerated=(errno.ENOENT,))


def add_port_entry(index: int, mac: str) -> Request:
    """Have the bridge of a port know that an address is at it, for good. One that is there is no error."""
    body = _entry(Entry(index, "", mac, NOARP), _BRIDGE_FAMILY, _MASTER_FDB)
    return Request(_NEW_NEIGHBOUR, body, CREATE | EXCL, (errno.EEXIST,))


def replace_port_entry(index: int, mac: str) -> Request:
    """`add_port_entry`, also in place of one that was learnt, or is at another port."""
    return Request(_NEW_NEIGHBOUR, _entry(Entry(index, "", mac, NOARP), _BRIDGE_FAMILY, _MASTER_FDB), CREATE | REPLACE)


def del_port_entry(index: int, mac: str) -> Request:
    """One that is not there is no error."""
    body = _entry(Entry(index, "", mac, NOARP), _BRIDGE_FAMILY, _MASTER_FDB)
    return Request(_DEL_NEIGHBOUR, body, tolerated=(errno.ENOENT,))


def replace_fdb(entry: Entry) -> Request:
    """An entry of a device's own, in place of that of its MAC address. (To append one to a unicast address has no effect, and
    is no error.)"""
    return Request(_NEW_NEIGHBOUR, _entry(entry, _BRIDGE_FAMILY, _SELF_FDB), CREATE | REPLACE)


def del_fdb(index: int, mac: str) -> Request:
    """All of a device's own with a MAC address. One that is not there is no error."""
    return Request(_DEL_NEIGHBOUR, _entry(Entry(index, "", mac), _BRIDGE_FAMILY, _SELF_FDB), tolerated=(errno.ENOENT,))


def _entry(entry: Entry, family: int, flags: int) -> bytes:
    parts = [_NEIGHBOUR.pack(family, entry.index, entry.state, flags, 0)]
    parts += [attribute(_NDA_DST, nlsocket.ip_bytes(entry.dst))] if entry.dst else []
    parts += [attribute(_NDA_MAC, nlsocket.mac_bytes(entry.mac))] if entry.mac else []
    return b"".join(parts)
