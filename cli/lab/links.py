"""The /30 network between a lab's switch and this machine, chosen so that nothing on this machine has it. Pure.

No route of this machine is shadowed: a range that any of them overlaps is not used. Routes that mean "everything else"
(default, and the halves that full-tunnel VPNs install) do not count.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

# Benchmarking (RFC 2544), shared address space (RFC 6598) and link-local (RFC 3927, without the cloud metadata's /24).
RANGES = ("198.18.0.0/15", "100.127.0.0/16", "169.254.192.0/18")
LENGTH = 30
# Shorter prefixes are catch-all routes.
_SHORTEST = 8
# Names of the host's side of links begin so, and no other device's.
PREFIX = "pnl-"
_MAX_DEVICE = 15


class Clash(Exception):
    """No link network is free; the text names each range and what overlaps it."""


@dataclass(frozen=True, slots=True)
class Route:
    """A destination of this machine's routing tables. `device` is empty for blackholes and the like."""

    network: IPv4Network
    device: str
    local: bool = False

    def __str__(self) -> str:
        return f"{self.network} dev {self.device}" if self.device else str(self.network)


@dataclass(frozen=True, slots=True)
class Link:
    """Addresses of the two sides, without their length."""

    network: IPv4Network

    @property
    def host(self) -> str:
        return str(self.network.network_address + 1)

    @property
    def switch(self) -> str:
        return str(self.network.network_address + 2)


def device(lab: str) -> str:
    """Name of the host's side: the lab's where it fits, else a hash of it."""
    room = _MAX_DEVICE - len(PREFIX)
    return PREFIX + (lab if len(lab) <= room else hashlib.sha256(lab.encode()).hexdigest()[:room])


def routes(items: Iterable[Any], *, but: str = "") -> list[Route]:
    """From the output of `ip -json -4 route show table all`; links of labs are left out, or that device alone."""
    found = []
    for item in items:
        name = str(item.get("dev", ""))
        kind = item.get("type", "unicast")
        skipped = name == but if but else name.startswith(PREFIX)
        if skipped or kind in ("broadcast", "multicast"):
            continue
        destination = "0.0.0.0/0" if item["dst"] == "default" else item["dst"]
        found.append(Route(ipaddress.IPv4Network(destination, strict=False), name, local=kind == "local"))
    return found


def forwarding_devices(present: Iterable[Route]) -> list[str]:
    """Devices over which this machine reaches others: answers for a lab come back through them."""
    return sorted({route.device for route in present if route.device not in ("", "lo") and not route.local})


def overlapping(network: IPv4Network, present: Iterable[Route]) -> Route | None:
    """The first route that is about part of the network."""
    specific = (route for route in present if route.network.prefixlen >= _SHORTEST)
    return next((route for route in specific if route.network.overlaps(network)), None)


def choose(
    lab: str,
    present: Sequence[Route],
    taken: Iterable[IPv4Network],
    ranges: Sequence[str] = RANGES,
    *,
    own: Sequence[IPv4Network] = (),
) -> Link:
    """A free network of the ranges; where the search starts depends on the lab's name. `taken`: links of other labs; `own`:
    networks inside the lab, over which the switch would not use the link. Raises Clash."""
    used = set(taken)
    reasons = []
    for text in ranges:
        range_ = IPv4Network(text)
        if (clash := overlapping(range_, present)) is not None:
            reasons.append(f"{range_} overlaps the route {clash}")
            continue
        if (inner := next((network for network in own if network.overlaps(range_)), None)) is not None:
            reasons.append(f"{range_} overlaps {inner}, which the lab itself uses")
            continue
        free = next(
            (network for network in _candidates(lab, range_) if not any(network.overlaps(other) for other in used)), None
        )
        if free is not None:
            return Link(free)
        reasons.append(f"{range_} is used up by other labs")
    raise Clash("; ".join(reasons))


def _candidates(lab: str, range_: IPv4Network) -> Iterator[IPv4Network]:
    count = 1 << (LENGTH - range_.prefixlen)
    start = int.from_bytes(hashlib.sha256(lab.encode()).digest()[:8], "big") % count
    base = int(range_.network_address)
    for step in range(count):
        yield IPv4Network((base + ((start + step) % count << (32 - LENGTH)), LENGTH))


def parse_range(text: str) -> str:
    """A range of the user's, large enough for a link. Raises ValueError."""
    network = IPv4Network(text)
    if not _SHORTEST <= network.prefixlen <= LENGTH:
        raise ValueError(f"{text} is not an IPv4 range between /{_SHORTEST} and /{LENGTH}")
    return str(network)
