"""Links of rtnetlink(7), network devices that is: requests as values, and what the kernel answers. Pure.

What is not named in a request is left to the kernel. Source: linux/rtnetlink.h, if_link.h.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

from nodeagent.network import nlsocket
from nodeagent.network.nlsocket import CREATE, EXCL, Attributes, Message, Request, attribute, nested

_NEW_LINK, _DEL_LINK, _GET_LINK = 16, 17, 18
_LINK = struct.Struct("=BxHiII")
_IFF_UP = 1
_MAC, _NAME, _MTU, _LOWER, _MASTER, _INFO, _ALIAS, _NET_NS_FD = 1, 3, 4, 5, 10, 18, 20, 28
# The namespace of a veth's other end, and of the link that a request is about, by a number of this namespace's.
_LOWER_NETNS, _TARGET_NETNS = 37, 46
_INFO_KIND, _INFO_DATA, _SLAVE_KIND, _SLAVE_DATA = 1, 2, 4, 5
_VETH_PEER = 1


@dataclass(frozen=True, slots=True)
class Link:
    """`master` is an index, 0 for none; `data` has the attributes of its kind, `port` those of a port of a bridge. `lower` is
    the index of a veth's other end, in the namespace with the number `lower_netns` (-1: in this one)."""

    index: int
    name: str
    mac: str
    mtu: int
    master: int
    alias: str
    data: Attributes
    kind: str = ""
    up: bool = False
    lower: int = 0
    lower_netns: int = -1
    port: Attributes = field(default_factory=Attributes)


def read(message: Message) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(message.body)
    found = nlsocket.attributes(message.body[_LINK.size :])
    info = nlsocket.attributes(found.get(_INFO, b""))
    return Link(
        index, nlsocket.string(found.get(_NAME)), nlsocket.mac_text(found.get(_MAC, b"")), nlsocket.unsigned(found.get(_MTU)),
        nlsocket.unsigned(found.get(_MASTER)), nlsocket.string(found.get(_ALIAS)),
        nlsocket.attributes(info.get(_INFO_DATA, b"")), nlsocket.string(info.get(_INFO_KIND)), bool(flags & _IFF_UP),
        nlsocket.unsigned(found.get(_LOWER)), struct.unpack("=i", found.get(_LOWER_NETNS, b"\xff\xff\xff\xff"))[0],
        nlsocket.attributes(info.get(_SLAVE_DATA, b"")),
    )  # fmt: skip


def get(*, index: int = 0, name: str = "") -> Request:
    return Request(_GET_LINK, _link(index) + (nlsocket.text(_NAME, name) if name else b""))


def every() -> Request:
    return Request(_GET_LINK, _link(0))


def other_end(link: Link) -> Request:
    """Of a veth, in whatever namespace it is. (It can be read so; a change would move it into that namespace.)"""
    return Request(_GET_LINK, _link(link.lower) + struct.pack("=HHi", 8, _TARGET_NETNS, link.lower_netns))


def change_kind(index: int, kind: str, data: bytes) -> Request:
    """Change attributes of the link's kind."""
    return Request(_NEW_LINK, _link(index) + nested(_INFO, nlsocket.text(_INFO_KIND, kind), nested(_INFO_DATA, data)))


def add(name: str, kind: str, data: bytes = b"", *, mac: str = "", mtu: int = 0) -> Request:
    """`data` are the attributes of the kind."""
    info = nested(_INFO, nlsocket.text(_INFO_KIND, kind), nested(_INFO_DATA, data) if data else b"")
    return Request(_NEW_LINK, _link(0) + _about(name, mac=mac, mtu=mtu) + info, CREATE | EXCL)


def veth(name: str, peer: str, *, netns: int, mtu: int, mac: str = "") -> Request:
    """A pair: `name` here, with `mac` if given, and `peer` in the network namespace of a descriptor."""
    about = _about(peer, mtu=mtu) + nlsocket.number(_NET_NS_FD, netns)
    return add(name, "veth", nested(_VETH_PEER, _link(0), about), mtu=mtu, mac=mac)


def change(index: int, *, up: bool = False, mtu: int = 0, mac: str = "", master: int = 0, alias: str = "") -> Request:
    """Change what is given."""
    parts = [_link(index, up=up), _about("", mac=mac, mtu=mtu)]
    parts += [nlsocket.number(_MASTER, master)] if master else []
    parts += [attribute(_ALIAS, alias.encode())] if alias else []
    return Request(_NEW_LINK, b"".join(parts))


def change_port(index: int, data: bytes) -> Request:
    """Change attributes of a bridge's port."""
    info = nested(_INFO, nlsocket.text(_SLAVE_KIND, "bridge"), nested(_SLAVE_DATA, data))
    return Request(_NEW_LINK, _link(index) + info)


def delete(index: int) -> Request:
    return Request(_DEL_LINK, _link(index))


def _link(index: int, *, up: bool = False) -> bytes:
    return _LINK.pack(socket.AF_UNSPEC, 0, index, _IFF_UP if up else 0, _IFF_UP if up else 0)


def _about(name: str, *, mac: str = "", mtu: int = 0) -> bytes:
    parts = [nlsocket.text(_NAME, name)] if name else []
    parts += [attribute(_MAC, nlsocket.mac_bytes(mac))] if mac else []
    parts += [nlsocket.number(_MTU, mtu)] if mtu else []
    return b"".join(parts)
