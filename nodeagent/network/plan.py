"""What the kernel should hold for the overlay, and the difference from what it holds. Pure.

Wanted and actual are sets of the same entries, so the difference is two set subtractions. Additions come before
removals: while a peer moves, its old way works until the new one does.
"""

from __future__ import annotations

import ipaddress
import re
from bisect import bisect, insort
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

from nodeagent.network import rtnetlink, wireguard
from nodeagent.network.interface import Node, Peer
from nodeagent.network.vxlan import mac_of, vtep_of
from nodeagent.network.wireguard import TunnelPeer
from pinnace.ipfamilies import FAMILIES, Family, Network, families_of, family_of

# As the kernel writes it, and unicast: the second digit is even.
_MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}\Z", re.ASCII)
# A VXLAN device floods to the entry of this address.
_DEFAULT_MAC = "00:00:00:00:00:00"


@dataclass(frozen=True, slots=True)
class Route:
    """`dst` through the VXLAN device by `via`, or nowhere when `via` is empty (a blackhole). `other` is a route of the kernel
    that is neither, as no wanted one is."""

    dst: str
    via: str = ""
    other: rtnetlink.Route | None = None


@dataclass(frozen=True, slots=True, order=True)
class Neighbour:
    address: str
    mac: str


@dataclass(frozen=True, slots=True, order=True)
class Fdb:
    """Frames to `mac` go to the host `dst`, in another way than to all others if there is something `odd`."""

    mac: str
    dst: str
    odd: str = ""


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


class Chosen(NamedTuple):
    """Peers that are programmed. Of those that are not because of a pod CIDR, the name of the node that has it, by theirs."""

    peers: list[Peer]
    overlapping: dict[str, str]


def wanted(node: Node, peers: Iterable[Peer]) -> Table:
    """The table of `node` with the peers of `choose`."""
    return table(node, choose(node, peers).peers)


def choose(node: Node, peers: Iterable[Peer]) -> Chosen:
    """A peer whose ranges are ours, another peer's or outside the cluster's, or whose addresses are ours, the cluster's, no
    host's or another peer's, is left out: it could only do harm. So is one on an underlay of another family, which is not
    reachable."""
    sane = [peer for peer in peers if _sane(node, peer)]
    claims = Counter(peer.mac for peer in sane)
    # Of several that claim a MAC address, only the node that it was made for can be right.
    usable = [peer for peer in sane if claims[peer.mac] == 1 or peer.mac == mac_of(peer.name)]
    overlapping = _overlapping(usable)
    return Chosen([peer for peer in usable if peer.name not in overlapping], overlapping)


def _overlapping(peers: Collection[Peer]) -> dict[str, str]:
    """The first node by name has a range; others with a part of it, by name, with the name of that node. Two neighbours with
    one address, of which the kernel holds one, would never be as wanted."""
    shares = [_Share(family_of(cidr), *_ends(cidr), peer.name) for peer in peers for cidr in peer.pod_cidrs]
    shares.sort()
    if all(one.family != other.family or one.last < other.first for one, other in pairwise(shares)):
        return {}
    found: dict[str, str] = {}
    taken: dict[Family, list[_Share]] = {family: [] for family in FAMILIES}
    for peer in sorted(peers, key=lambda item: item.name):
        own = [_Share(family_of(cidr), *_ends(cidr), peer.name) for cidr in peer.pod_cidrs]
        holder = next(filter(None, (_holder(taken[share.family], share) for share in own)), "")
        if holder:
            found[peer.name] = holder
            continue
        for share in own:
            insort(taken[share.family], share)
    return found


class _Share(NamedTuple):
    """Of a family, its first and last address as numbers."""

    family: Family
    first: int
    last: int
    node: str


def _ends(cidr: str) -> tuple[int, int]:
    network = ipaddress.ip_network(cidr)
    return int(network.network_address), int(network.broadcast_address)


def _holder(taken: list[_Share], share: _Share) -> str:
    """The node of a share that overlaps `share`; empty for none. `taken` is in order, and its shares do not overlap."""
    at = bisect(taken, share)
    near = taken[max(at - 1, 0) : at + 1]
    return next((item.node for item in near if item.first <= share.last and share.first <= item.last), "")


def table(node: Node, peers: Iterable[Peer]) -> Table:
    """In the address families of the pods of `node`."""
    families = families_of(node.pod_cidrs)
    ranges = [(cidr, peer) for peer in peers for cidr in peer.pod_cidrs if family_of(cidr) in families]
    blackholes = frozenset(Route(cidr) for cidr in node.cluster_cidrs if family_of(cidr) in families)
    return Table(
        routes=frozenset(Route(cidr, vtep_of(cidr)) for cidr, _ in ranges) | blackholes,
        neighbours=frozenset(Neighbour(vtep_of(cidr), peer.mac) for cidr, peer in ranges),
        fdb=frozenset(Fdb(peer.mac, peer.address) for _, peer in ranges),
    )


def encrypted(node: Node, peers: Collection[Peer]) -> tuple[frozenset[TunnelPeer], list[Peer]]:
    """The peers of the WireGuard device of `node`, whose address is that of the underlay, and all peers as the overlay over it
    sees them: by the addresses of their tunnels. One without a key, or with that of another, is left out."""
    claims = Counter(peer.key for peer in peers)
    usable = [peer for peer in peers if claims[peer.key] == 1 and wireguard.is_key(peer.key) and _is_host(node, peer.address)]
    tunnels = frozenset(TunnelPeer(peer.key, peer.address) for peer in usable)
    return tunnels, [replace(peer, address=wireguard.tunnel_address(peer.key)) for peer in usable]


def _sane(node: Node, peer: Peer) -> bool:
    mac = _MAC.match(peer.mac) is not None and peer.mac not in (node.mac, _DEFAULT_MAC)
    single = len(families_of(peer.pod_cidrs)) == len(peer.pod_cidrs)
    return mac and single and _is_host(node, peer.address) and all(_is_share(node, cidr) for cidr in peer.pod_cidrs)


def _is_host(node: Node, text: str) -> bool:
    """Whether it can be the underlay address of another node."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    # Written as the kernel does, or it would be taken for another at each comparison.
    written = text == str(address) and family_of(text) == family_of(node.address)
    # An IPv6 address of a link needs the name of the link, which differs between hosts.
    scoped = isinstance(address, ipaddress.IPv6Address) and (address.is_link_local or address.scope_id is not None)
    ours = any(_inside(ipaddress.ip_network(text), cidr) for cidr in _same(text, (*node.cluster_cidrs, *node.service_cidrs)))
    return written and text != node.address and not (ours or address.is_multicast or address.is_unspecified or scoped)


def _is_share(node: Node, cidr: str) -> bool:
    """Whether it can be another node's share of the cluster's pod addresses."""
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError:
        return False
    family = family_of(cidr)
    inside = any(_inside(network, other) for other in node.cluster_cidrs if family_of(other) == family)
    ours = (ipaddress.ip_network(other) for other in node.pod_cidrs if family_of(other) == family)
    return cidr == str(network) and inside and not any(network.overlaps(other) for other in ours)


def _same(text: str, cidrs: Iterable[str]) -> Iterator[str]:
    return (cidr for cidr in cidrs if family_of(cidr) == family_of(text))


def _inside(network: Network, other: str) -> bool:
    outer = ipaddress.ip_network(other)
    # Not subnet_of: for its types a network may be of the other family.
    return network.prefixlen >= outer.prefixlen and network.overlaps(outer)


def difference(want: Table, have: Table) -> Difference:
    return Difference(
        add=Table(want.routes - have.routes, want.neighbours - have.neighbours, want.fdb - have.fdb),
        remove=Table(have.routes - want.routes, have.neighbours - want.neighbours, have.fdb - want.fdb),
    )
