"""What the kernel should hold for the overlay, and the difference from what it holds. Pure.

Wanted and actual are sets of the same entries, so the difference is two set subtractions. Additions come before
removals: while a peer moves, its old way works until the new one does.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from nodeagent.network.interface import Node, Peer
from nodeagent.network.vxlan import mac_of, vtep_of

# As the kernel writes it, and unicast: the second digit is even.
_MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}\Z", re.ASCII)
# A VXLAN device floods to the entry of this address.
_DEFAULT_MAC = "00:00:00:00:00:00"


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """`dst` through the VXLAN device by `via`, or nowhere when `via` is empty (a blackhole)."""

    dst: str
    via: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Neighbour:
    address: str
    mac: str


@dataclass(frozen=True, slots=True, order=True)
class Fdb:
    """Frames to `mac` go to the host `dst`."""

    mac: str
    dst: str


@dataclass(frozen=True, slots=True)
class Table:
    routes: frozenset[Route] = field(default_factory=frozenset)
    neighbours: frozenset[Neighbour] = field(default_factory=frozenset)
    fdb: frozenset[Fdb] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Difference:
    """Apply `add` first, entry by entry in the order fdb, neighbours, routes; then `remove` in the opposite order."""

    add: Table
    remove: Table

    @property
    def size(self) -> int:
        return sum(len(t.routes) + len(t.neighbours) + len(t.fdb) for t in (self.add, self.remove))


def wanted(node: Node, peers: Iterable[Peer]) -> Table:
    """The table of `node`. A peer whose range is ours or outside the cluster's, or whose addresses are ours, no host's
    or another peer's, is left out: it could only do harm."""
    sane = [peer for peer in peers if _sane(node, peer)]
    claims = Counter(peer.mac for peer in sane)
    # Of several that claim a MAC address, only the node that it was made for can be right.
    usable = [peer for peer in sane if claims[peer.mac] == 1 or peer.mac == mac_of(peer.name)]
    return Table(
        routes=frozenset(Route(peer.pod_cidr, vtep_of(peer.pod_cidr)) for peer in usable)
        | frozenset(Route(cidr) for cidr in node.cluster_cidrs),
        neighbours=frozenset(Neighbour(vtep_of(peer.pod_cidr), peer.mac) for peer in usable),
        fdb=frozenset(Fdb(peer.mac, peer.address) for peer in usable),
    )


def _sane(node: Node, peer: Peer) -> bool:
    try:
        network = ipaddress.IPv4Network(peer.pod_cidr)
        address = ipaddress.IPv4Address(peer.address)
    except ValueError:
        return False
    ours = ipaddress.IPv4Network(node.pod_cidr)
    inside = any(network.subnet_of(ipaddress.IPv4Network(cidr)) for cidr in node.cluster_cidrs)
    host = peer.address != node.address and not (address.is_multicast or address.is_unspecified)
    mac = _MAC.match(peer.mac) is not None and peer.mac not in (node.mac, _DEFAULT_MAC)
    return inside and not network.overlaps(ours) and host and mac


def difference(want: Table, have: Table) -> Difference:
    return Difference(
        add=Table(want.routes - have.routes, want.neighbours - have.neighbours, want.fdb - have.fdb),
        remove=Table(have.routes - want.routes, have.neighbours - want.neighbours, have.fdb - want.fdb),
    )
