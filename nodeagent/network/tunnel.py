"""The node's WireGuard device in the kernel: made, given its key, and its peers kept as they are wanted.

`wireguard` says what it is for. Synchronous; on the thread that owns netlink.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from pathlib import Path

from nodeagent.network import clashes, links, rtnetlink, wireguard
from nodeagent.network.interface import Deviation, NetworkError
from nodeagent.network.links import Link
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.rtnetlink import Address, Route
from nodeagent.network.tables import PROTOCOL
from nodeagent.network.tunnelkey import TunnelKey
from nodeagent.network.wireguard import DEVICE, PREFIX, Tunnel, TunnelPeer
from nodeagent.network.wireguard import KIND as WIREGUARD

# Of deviations.
KIND = "tunnel"
_CONF = Path("/proc/sys/net/ipv6/conf") / DEVICE


def ensure(route: NetlinkSocket, key: TunnelKey, *, mtu: int) -> None:
    """The device, up, with its key, address and route. Raises NetworkError where the kernel has none of it, or the host another
    device of its name; and OSError."""
    if not _CONF.parent.exists():
        raise NetworkError("--encrypt needs IPv6 in the kernel, for the addresses of its tunnels (boot without ipv6.disable=1)")
    index = _index()
    if not index:
        _add(route)
        index = _index()
    if taken := clashes.other_kind(_link(route, index), WIREGUARD):
        raise NetworkError(taken)
    with NetlinkSocket(wireguard.GENERIC) as kernel:
        family = wireguard.find(kernel)
        if wireguard.read(kernel.dump(wireguard.get_device(family))).public_key != key.public:
            kernel.run(wireguard.set_key(family, key.private))
        kernel.run(wireguard.forget_sources(family))
    for setting, value in (("disable_ipv6", "0"), ("accept_ra", "0"), ("addr_gen_mode", "1")):
        (_CONF / setting).write_text(value)
    route.run(links.change(index, up=True, mtu=mtu))
    wanted = Address(index, wireguard.tunnel_address(key.public), PREFIX.prefixlen)
    present = {found for found in map(rtnetlink.address_of, route.dump(rtnetlink.list_addresses())) if found.index == index}
    route.run(*map(rtnetlink.del_address, present - {wanted}))
    if wanted not in present:
        route.run(rtnetlink.add_address(wanted))
    # The kernel has made it with the address, and does not make it again.
    if not _has_route(_routes(route), index):
        route.run(rtnetlink.add_route(Route(str(PREFIX), oif=index, protocol=PROTOCOL)))


def _link(route: NetlinkSocket, index: int) -> Link:
    [message] = route.run(links.get(index=index))
    return links.read(message)


def _routes(route: NetlinkSocket) -> list[Route]:
    """Those to tunnel addresses. To decode all of a router's takes seconds."""
    return list(map(rtnetlink.route_of, route.dump(rtnetlink.list_routes(socket.AF_INET6), keep=_is_to_tunnels)))


def _is_to_tunnels(body: bytes) -> bool:
    """Of the body of a route (struct rtmsg, whose second byte is the length of the destination)."""
    return body[1] == PREFIX.prefixlen and PREFIX.network_address.packed in body


def _has_route(routes: Iterable[Route], index: int) -> bool:
    wanted = str(PREFIX), index, rtnetlink.UNICAST, rtnetlink.MAIN_TABLE
    return any((item.dst, item.oif, item.type, item.table) == wanted for item in routes)


def _index() -> int:
    try:
        return socket.if_nametoindex(DEVICE)
    except OSError:
        return 0


def _add(route: NetlinkSocket) -> None:
    try:
        route.run(links.add(DEVICE, WIREGUARD))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOENT):
            raise
        raise NetworkError(
            "the cluster is encrypted (--encrypt), and the kernel of this node has no WireGuard: load its module wireguard"
        ) from None


def verify(route: NetlinkSocket, wanted: frozenset[TunnelPeer] | None, *, mtu: int) -> list[Deviation]:
    """The device and its peers (None: of them nothing is known), as far as they are not as wanted. Raises OSError."""
    index = _index()
    if not index:
        return [Deviation(KIND, DEVICE, WIREGUARD, "")]
    link = _link(route, index)
    wrong = differences(link, _routes(route), mtu=mtu)
    if link.kind != WIREGUARD:
        return wrong
    found = read()
    address = wireguard.tunnel_address(found.public_key) if found.public_key else "none"
    there = {item.address for item in map(rtnetlink.address_of, route.dump(rtnetlink.list_addresses())) if item.index == index}
    if there != {address}:
        wrong.append(Deviation(KIND, f"{DEVICE} address", address, " ".join(sorted(there))))
    if found.port != wireguard.PORT:
        wrong.append(Deviation(KIND, f"{DEVICE} port", str(wireguard.PORT), str(found.port)))
    known = found.peers if wanted is None else wanted
    want, have = ({peer.key: peer.endpoint for peer in peers} for peers in (known, found.peers))
    # Keys without an endpoint are peers whose allowed IPs are not as wanted.
    return wrong + [
        Deviation(KIND, f"{DEVICE} peer {key}", want.get(key, ""), have.get(key, "") or ("wrong" if key in have else ""))
        for key in sorted(want.keys() | have.keys()) if want.get(key) != have.get(key)
    ]  # fmt: skip


def differences(link: Link, routes: Iterable[Route], *, mtu: int) -> list[Deviation]:
    """Of the device itself and its route; of a device of another kind that alone. Pure."""
    if link.kind != WIREGUARD:
        return [Deviation(KIND, DEVICE, WIREGUARD, link.kind or "physical")]
    facts = (
        ("state", "up", "up" if link.up else "down"), ("mtu", str(mtu), str(link.mtu)),
        ("route", str(PREFIX), str(PREFIX) if _has_route(routes, link.index) else ""),
    )  # fmt: skip
    return [Deviation(KIND, f"{DEVICE} {name}", wanted, actual) for name, wanted, actual in facts if wanted != actual]


def read() -> Tunnel:
    """The device as it is. Raises OSError, also where the kernel has no WireGuard."""
    with NetlinkSocket(wireguard.GENERIC) as kernel:
        if not (family := wireguard.find(kernel)):
            raise OSError(errno.EOPNOTSUPP, "the kernel has no WireGuard")
        return wireguard.read(kernel.dump(wireguard.get_device(family)))


def remove(route: NetlinkSocket) -> None:
    """The device of a cluster that was encrypted before. Raises OSError."""
    if (index := _index()) and _link(route, index).kind == WIREGUARD:
        route.run(links.delete(index))


def sync(wanted: frozenset[TunnelPeer]) -> int:
    """Have exactly these peers; returns how many were wrong. Raises OSError."""
    with NetlinkSocket(wireguard.GENERIC) as kernel:
        family = wireguard.find(kernel)
        present = wireguard.read(kernel.dump(wireguard.get_device(family))).peers
        add, gone = wanted - present, present - wanted
        for request in wireguard.set_peers(family, sorted(add), sorted(gone)):
            kernel.run(request)
    return len({peer.key for peer in add | gone})
