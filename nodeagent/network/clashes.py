"""What of this host is in the way of the node's network: the same addresses, VNI or names of devices. Pure.

Routes and addresses inside of a range of the cluster count. A wider route (10.0.0.0/8 by a gateway) does not, nor does the
default route: the cluster's own routes are more specific, and many hosts have such a route.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from nodeagent.network import vxlan, wireguard
from nodeagent.network.guard import BRIDGE, PORTS
from nodeagent.network.interface import Node
from nodeagent.network.links import Link
from nodeagent.network.rtnetlink import UNICAST, Address, Route
from nodeagent.network.tables import NOWHERE, PROTOCOL
from pinnace.ipfamilies import BITS, family_of

# Names of our own devices begin so.
OURS = ("pinnace", PORTS)
# linux/rtnetlink.h: others are of the host's own addresses.
_TYPES = {UNICAST: ""} | {kind: f"{name} " for kind, name in NOWHERE.items()}


def find(node: Node, links: Iterable[Link], addresses: Iterable[Address], routes: Iterable[Route]) -> str:
    """The first clash, for people; empty for none."""
    found = {link.index: link for link in links}
    names = {index: link.name for index, link in found.items()}
    of_devices = chain(_own(node), _devices(node, found.values()))
    reasons = chain(of_devices, _addresses(node, addresses, names), _routes(node, routes, names))
    return next(reasons, "")


def _ranges(node: Node) -> Iterator[tuple[str, str]]:
    yield from (("pod CIDR", cidr) for cidr in node.cluster_cidrs)
    yield from (("Service CIDR", cidr) for cidr in node.service_cidrs)


def _own(node: Node) -> Iterator[str]:
    """Of the node's address on the underlay, on whatever device it is."""
    for range_, cidr in _ranges(node):
        if node.address and _inside(f"{node.address}/{BITS[family_of(node.address)]}", cidr):
            yield f"the {range_} {cidr} has this node's address {node.address}: choose another range"


def _devices(node: Node, links: Iterable[Link]) -> Iterator[str]:
    ours = [(BRIDGE, "bridge"), (vxlan.DEVICE, "vxlan"), *([(wireguard.DEVICE, wireguard.KIND)] if node.encrypt else [])]
    for link in links:
        for name, kind in ours:
            if link.name == name and (taken := other_kind(link, kind)):
                yield taken
        if link.name != vxlan.DEVICE and link.kind == "vxlan" and vxlan.identity(link) == (node.vni, node.port):
            yield f"VNI {node.vni} on port {node.port} is that of the host's device {link.name}: choose another VNI or port"


def other_kind(link: Link, kind: str) -> str:
    """Empty unless a device with a name of ours is of another kind."""
    if link.kind == kind:
        return ""
    return f"the host has a device {link.name}, which is no {kind} but {link.kind or 'physical'}: rename or remove it"


def _addresses(node: Node, addresses: Iterable[Address], names: Mapping[int, str]) -> Iterator[str]:
    for item in addresses:
        name = names.get(item.index, "?")
        if not item.address or name.startswith(OURS):
            continue
        for range_, cidr in _ranges(node):
            if name == "lo" and cidr in node.service_cidrs:
                # The resolver's, on every node.
                continue
            if _inside(f"{item.address}/{BITS[family_of(item.address)]}", cidr):
                yield f"the {range_} {cidr} has the host's address {item.address} (dev {name}): choose another range"


def _routes(node: Node, routes: Iterable[Route], names: Mapping[int, str]) -> Iterator[str]:
    for item in routes:
        name = names.get(item.oif, "")
        # The kernel's route to an IPv6 address of `lo`, which is looked at as an address.
        of_address = name == "lo" and item.dst.endswith("/128")
        # By another device, one of our protocol is none of ours.
        ours = name.startswith(OURS) or (item.protocol == PROTOCOL and item.type in NOWHERE)
        if item.type not in _TYPES or ours or of_address:
            continue
        for range_, cidr in _ranges(node):
            if _inside(item.dst, cidr):
                way = f"{f' via {item.gateway}' if item.gateway else ''}{f' dev {name}' if name else ''}"
                shown = f"{_TYPES[item.type]}{item.dst}{way}"
                yield f"the {range_} {cidr} has the host's route {shown}: choose another range, or remove the route"


def _inside(item: str, cidr: str) -> bool:
    if family_of(item) != family_of(cidr):
        return False
    inner, outer = ipaddress.ip_network(item, strict=False), ipaddress.ip_network(cidr)
    return inner.prefixlen >= outer.prefixlen and inner.overlaps(outer)
