"""Pod ranges: one /24 (or what the cluster range allows) for each node, handed out once and kept."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from itertools import islice

from pinnace.errors import TooManyRequests

# Nodes a cluster can have before the search for a free range gives up.
MAX_NODES = 4096


def free_range(cluster: str, bits: int, taken: Iterable[str]) -> str:
    """The first subnet of `cluster` with prefix length `bits` that nobody has. Raises TooManyRequests when full."""
    used = set(taken)
    for subnet in islice(ipaddress.ip_network(cluster).subnets(new_prefix=bits), MAX_NODES):
        if str(subnet) not in used:
            return str(subnet)
    raise TooManyRequests(f"no free pod range is left in {cluster}")
