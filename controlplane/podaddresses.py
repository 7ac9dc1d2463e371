"""Which addresses a pod can have on its node: those of the node's pod CIDRs, or the node's own in the network of the node.

A node states the addresses of its pods, and traffic of Services and rules of policies follow them: a node that could state any
address would get traffic that is another's. The CIDRs are in the spec, which nodes do not write. A Node without a CIDR has no
agent of ours (those get one when they join): its pods' statuses are written by a user, and there is nothing to compare with.
Pure.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

from pinnace import nodenetwork
from pinnace.core.v1.node_pb2 import Node

# Types of a node's addresses that are IP addresses.
IP_TYPES = ("InternalIP", "ExternalIP")
# Answers that are kept: about 200 bytes each.
_KEPT = 16_384


class NodeNetwork(NamedTuple):
    """Of a node: its pod CIDRs, and its own addresses in canonical form."""

    cidrs: tuple[str, ...]
    addresses: frozenset[str]

    def holds(self, address: str, *, host_network: bool) -> bool:
        """Whether a pod of the node can have an address; False for text that is none."""
        if not self.cidrs:
            return True
        return canonical(address) in self.addresses if host_network else _is_inside(address, self.cidrs)


def network_of(node: Node) -> NodeNetwork:
    own = (canonical(item.address) for item in node.status.addresses if item.type in IP_TYPES)
    return NodeNetwork(tuple(nodenetwork.pod_cidrs(node)), frozenset(filter(None, own)))


def canonical(text: str) -> str:
    """Empty for text that is no address."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def range_of(address: str, cidrs: Iterable[str]) -> str:
    """The first of the CIDRs that an address is in; empty for none."""
    return next((cidr for cidr in cidrs if _is_inside(address, (cidr,))), "")


@functools.lru_cache(_KEPT)
def _is_inside(address: str, cidrs: tuple[str, ...]) -> bool:
    try:
        found = ipaddress.ip_address(address)
        return any(found in ipaddress.ip_network(cidr, strict=False) for cidr in cidrs)
    except ValueError:
        return False
