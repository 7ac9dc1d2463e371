"""The addresses of a node at which NodePorts answer: `--nodeport-addresses`, as kube-proxy's. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from nodeagent.network.elements import number
from pinnace.ipfamilies import FAMILIES

PRIMARY = "primary"


def parse(text: str) -> tuple[str, ...]:
    """The networks that a flag names; none for the primary addresses. Raises ValueError."""
    items = [item.strip() for item in text.split(",") if item.strip()]
    if PRIMARY in items and len(items) > 1:
        raise ValueError(f'"{PRIMARY}" and CIDRs exclude each other')
    if not items:
        raise ValueError(f'specify "{PRIMARY}" or CIDRs')
    found = [ipaddress.ip_network(item) for item in items if item != PRIMARY]
    # Merged: a set of intervals has no two that overlap.
    own = ([item for item in found if item.version == family] for family in FAMILIES)
    return tuple(str(item) for items in own for item in ipaddress.collapse_addresses(items))  # type: ignore[type-var]


def networks(configured: Collection[str], addresses: Collection[str]) -> tuple[str, ...]:
    """Those of `configured`; in a family of which it has none the node's own address, if it has one."""
    found = []
    for family in FAMILIES:
        named = [cidr for cidr in configured if number(cidr) == family]
        found += named or [address for address in addresses if number(address) == family]
    return tuple(found)
