"""Ranges that Services have their addresses and node ports from, and which of them are given out by themselves. Pure.

As in Kubernetes, the lower part of a range is for users who name an address or a port, and the rest is given out first, so
that the two rarely meet. Source: ipallocator and portallocator of registry/core/service.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from pinnace.ipfamilies import NAMES, Address, Network, family_of

# Places in a range of the Service `kubernetes` and of the cluster's DNS.
API_PLACE, DNS_PLACE = 1, 10
# Addresses of a range that are given out unasked at most: that many Services there cannot be.
MAX_ADDRESSES = 1 << 20
# Random tries before what is used is listed.
TRIES = 32
DEFAULT_ADDRESSES, DEFAULT_PORTS = "10.96.0.0/12", "30000-32767"
# Longest prefix of a range: there is room for more than the API and DNS.
LONGEST = {4: 28, 6: 124}


def _static(size: int, *, step: int, most: int, least: int = 16) -> int:
    """Places at the beginning of a range that are given out last."""
    return 0 if size <= least else max(least, min(size // step, most))


@dataclass(frozen=True)
class AddressRange:
    """Addresses of one family, by their place in the network."""

    cidr: str

    @cached_property
    def network(self) -> Network:
        return ipaddress.ip_network(self.cidr)

    @property
    def family(self) -> str:
        return NAMES[family_of(self.cidr)]

    @cached_property
    def places(self) -> range:
        """Neither the network's address nor, of IPv4, the broadcast address."""
        count = self.network.num_addresses
        return range(1, min(count - (self.network.version == 4), MAX_ADDRESSES))

    @property
    def static(self) -> int:
        return _static(min(self.network.num_addresses, MAX_ADDRESSES), step=16, most=256)

    def at(self, place: int) -> str:
        return str(self.network.network_address + place)

    def holds(self, text: str) -> bool:
        """Whether a Service can have an address, also one that is never given out unasked."""
        address, network = ipaddress.ip_address(text), self.network
        ends = [network.network_address, *([network.broadcast_address] if network.version == 4 else [])]
        return address in network and address not in ends

    @property
    def candidates(self) -> tuple[range, ...]:
        """Places that are given out, the upper part first; not those of the API and of DNS."""
        lower = range(DNS_PLACE + 1, self.static), range(API_PLACE + 1, min(DNS_PLACE, self.places.stop))
        return range(max(self.static, DNS_PLACE + 1), self.places.stop), *lower


@dataclass(frozen=True)
class PortRange:
    """Ports of nodes."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> PortRange:
        """`30000-32767`. Raises ValueError."""
        first, dash, last = text.partition("-")
        if not (dash and all(part.isascii() and part.isdigit() and len(part) <= 5 for part in (first, last))):
            raise ValueError(f'"{text[:40]}" is not a range of ports such as {DEFAULT_PORTS}')
        found = cls(int(first), int(last))
        if not 1 <= found.first <= found.last <= 65535:
            raise ValueError(f'"{text}" is not a range of ports from 1 to 65535')
        return found

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def holds(self, port: int) -> bool:
        return self.first <= port <= self.last

    @property
    def candidates(self) -> tuple[range, ...]:
        """The upper part first."""
        size = self.last - self.first + 1
        middle = self.first + _static(size, step=32, most=128)
        return range(middle, self.last + 1), range(self.first, middle)


@dataclass(frozen=True)
class ServiceRanges:
    """All that Services are given of; `addresses` has a range for each family, the primary one first."""

    addresses: tuple[AddressRange, ...] = (AddressRange(DEFAULT_ADDRESSES),)
    ports: PortRange = PortRange(30_000, 32_767)

    @property
    def api(self) -> str:
        """The address of the Service `kubernetes`, of the primary family."""
        return self.addresses[0].at(API_PLACE)

    @property
    def api_addresses(self) -> tuple[str, ...]:
        """The same of every family."""
        return tuple(item.at(API_PLACE) for item in self.addresses)

    @property
    def dns(self) -> str:
        """The address of the Service `kube-dns`, of the primary family."""
        return self.addresses[0].at(DNS_PLACE)

    def of(self, family: str) -> AddressRange | None:
        """The range of `IPv4` or `IPv6`."""
        return next((item for item in self.addresses if item.family == family), None)


def places(seed: str, candidates: Iterable[range]) -> Iterator[tuple[range, Iterator[int]]]:
    """For each part of a range a few of its places, in an order that the seed decides."""
    for part in candidates:
        yield part, (part[_number(seed, turn) % len(part)] for turn in range(TRIES if part else 0))


def first_free(part: range, used: set[int], seed: str) -> int | None:
    """A place that is not used, the first one from a random place on; None if there is none."""
    if not part:
        return None
    start = _number(seed, TRIES) % len(part)
    # One more than are used, of which one is free.
    turns = min(len(used) + 1, len(part))
    return next((place for turn in range(turns) if (place := part[(start + turn) % len(part)]) not in used), None)


def _number(seed: str, turn: int) -> int:
    return int.from_bytes(sha256(f"{seed}/{turn}".encode()).digest()[:8], "big")


def pool_range(text: str) -> tuple[Address, Address]:
    """First and last address of `192.0.2.0/28`, `192.0.2.32-192.0.2.40` or `192.0.2.7`. Raises ValueError."""
    text = text.strip()
    first, dash, last = text.partition("-")
    if not dash:
        network = ipaddress.ip_network(text)
        return network[0], network[-1]
    found = ipaddress.ip_address(first.strip()), ipaddress.ip_address(last.strip())
    if found[0].version != found[1].version or int(found[0]) > int(found[1]):
        raise ValueError(f"{text!r} does not appear to be a range of addresses")
    return found


def overlap(services: Iterable[str], pods: Iterable[str]) -> tuple[str, str] | None:
    """A range of Services and one of pods that have addresses in common."""
    taken = [ipaddress.ip_network(cidr) for cidr in pods]
    for service in map(ipaddress.ip_network, services):
        for pod in taken:
            if service.version == pod.version and service.overlaps(pod):
                return str(service), str(pod)
    return None
