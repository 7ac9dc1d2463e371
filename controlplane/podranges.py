"""A range of pod addresses and each node's share of it. Pure: the command line and the dispatcher check both by it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from pinnace.ipfamilies import BITS, NAMES, Family, family_of

# Prefix lengths of a node's share, as kube-controller-manager has them.
SHARE: dict[Family, int] = {4: 24, 6: 64}
# An IPv6 range has 2^16 subnets at most, as in kube-controller-manager; and a share has room for a pod.
_MAX_SPLIT, _MIN_HOST_BITS = 16, 2


@dataclass(frozen=True, slots=True)
class Range:
    """Pod addresses of one family. `bits`: prefix length of each node's share of `cidr`."""

    cidr: str
    bits: int


def wrong_share(cidr: str, bits: int) -> str:
    """What is wrong with the prefix length of a node's share, naming the flag; empty: nothing. Raises ValueError for what is no
    range."""
    family, shortest = family_of(cidr), ipaddress.ip_network(cidr).prefixlen
    longest = min(BITS[family] - _MIN_HOST_BITS, shortest + _MAX_SPLIT if family == 6 else BITS[family])
    if shortest <= bits <= longest:
        return ""
    flag = f"--node-bits (or --node-cidr-mask-size-{NAMES[family].lower()})"
    return f"{flag} must lie between the prefix length of --cluster-cidr ({cidr}) and {longest}, not {bits}"
