"""Address families of IP addresses and CIDRs, which are text everywhere. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Literal

Family = Literal[4, 6]
FAMILIES: tuple[Family, ...] = (4, 6)
# As Kubernetes' `ipFamilies` names them.
NAMES: dict[Family, str] = {4: "IPv4", 6: "IPv6"}
# Prefix length of a single address.
BITS: dict[Family, int] = {4: 32, 6: 128}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def family_of(text: str) -> Family:
    """Of an address or a CIDR that is known to be one."""
    return 6 if ":" in text else 4


def canonical(address: str) -> str:
    """An address as `ipaddress` writes it. The C library and nft write IPv6 addresses that contain one of IPv4 otherwise:
    ::1.2.3.4."""
    if ":" not in address or "." not in address:
        return address
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address


def of_family(family: Family, items: Iterable[str]) -> str:
    """The first address or CIDR of a family; empty for none."""
    return next((item for item in items if family_of(item) == family), "")


def families_of(items: Iterable[str]) -> tuple[Family, ...]:
    """Each family once, in the order of `items`: the first is the primary one."""
    return tuple(dict.fromkeys(map(family_of, items)))


def url_host(address: str) -> str:
    """An address as the host of a URL or of HOST:PORT: IPv6 in brackets (RFC 3986, section 3.2.2)."""
    return f"[{address}]" if family_of(address) == 6 else address
