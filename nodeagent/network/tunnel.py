"""The node's WireGuard device in the kernel: made, given its key, and its peers kept as they are wanted.

`wireguard` says what it is for. Synchronous; on the thread that owns netlink.
"""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from nodeagent.network import links, rtnetlink, wireguard
from nodeagent.network.interface import Deviation, NetworkError
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.rtnetlink import Address
from nodeagent.network.tunnelkey import TunnelKey
from nodeagent.network.wireguard import DEVICE, PREFIX, TunnelPeer

# Of deviations.
KIND = "tunnel"
_CONF = Path("/proc/sys/net/ipv6/conf") / DEVICE


def ensure(route: NetlinkSocket, key: TunnelKey, *, mtu: int) -> None:
    """The device, up, with its key and address. Raises NetworkError where the kernel has none of it, and OSError."""
    if not _CONF.parent.exists():
        raise NetworkError("--encrypt needs IPv6 in the kernel, for the addresses of its tunnels (boot without ipv6.disable=1)")
    index = _index()
    if not index:
        _add(route)
        index = _index()
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


def _index() -> int:
    try:
        return socket.if_nametoindex(DEVICE)
    except OSError:
        return 0


def _add(route: NetlinkSocket) -> None:
    try:
        route.run(links.add(DEVICE, "wireguard"))
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
        return [Deviation(KIND, DEVICE, "wireguard", "")]
    with NetlinkSocket(wireguard.GENERIC) as kernel:
        found = wireguard.read(kernel.dump(wireguard.get_device(wireguard.find(kernel))))
    address = wireguard.tunnel_address(found.public_key) if found.public_key else "none"
    there = {item.address for item in map(rtnetlink.address_of, route.dump(rtnetlink.list_addresses())) if item.index == index}
    wrong = [Deviation(KIND, f"{DEVICE} address", address, " ".join(sorted(there)))] if there != {address} else []
    [message] = route.run(links.get(index=index))
    if (present := links.read(message).mtu) != mtu:
        wrong.append(Deviation(KIND, f"{DEVICE} mtu", str(mtu), str(present)))
    if found.port != wireguard.PORT:
        wrong.append(Deviation(KIND, f"{DEVICE} port", str(wireguard.PORT), str(found.port)))
    known = found.peers if wanted is None else wanted
    want, have = ({peer.key: peer.endpoint for peer in peers} for peers in (known, found.peers))
    # Keys without an endpoint are peers whose allowed IPs are not as wanted.
    return wrong + [
        Deviation(KIND, f"{DEVICE} peer {key}", want.get(key, ""), have.get(key, "") or ("wrong" if key in have else ""))
        for key in sorted(want.keys() | have.keys()) if want.get(key) != have.get(key)
    ]  # fmt: skip


def remove(route: NetlinkSocket) -> None:
    """The device of a cluster that was encrypted before. Raises OSError."""
    if index := _index():
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
