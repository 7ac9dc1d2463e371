"""Routes of the host inside of the cluster's ranges, read as often as their number allows.

The kernel selects routes by protocol or table, but not by destination, so all of them pass through the agent: 2.5 µs for each.
A comparison reads `AT_ONCE` on average, which is 1 % of a CPU: on a host with a full table of BGP, of a million, they are read
in each fiftieth.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable, Sequence

from nodeagent.network import rtnetlink
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.rtnetlink import Route
from pinnace.ipfamilies import family_of

# Routes that one comparison reads on average.
AT_ONCE = 20_000
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
# linux/rtnetlink.h: struct rtmsg, and the attributes after it: RTA_TABLE, which is a number, and RTA_DST.
_HEADER, _ATTRIBUTE, _DST = 12, struct.Struct("=HH"), 1


class HostRoutes:
    def __init__(self, route: NetlinkSocket) -> None:
        self._route = route
        # As of the last reading: its ranges, and what it found; and how many comparisons are yet to do without another.
        self._cidrs: Sequence[str] = ()
        self._found: list[Route] = []
        self._waiting = 0

    def inside(self, cidrs: Sequence[str], *, thorough: bool) -> list[Route]:
        """Of all tables; `thorough`: as they are now, whatever it costs. Raises OSError."""
        if self._waiting and cidrs == self._cidrs and not thorough:
            self._waiting -= 1
            return self._found
        found, count = list[Route](), 0
        for family, number in _FAMILIES.items():
            wanted = _Inside(cidr for cidr in cidrs if family_of(cidr) == family)
            if wanted.ranges:
                found += map(rtnetlink.route_of, self._route.dump(rtnetlink.list_routes(number), keep=wanted.keep))
            count += wanted.count
        self._cidrs, self._found, self._waiting = cidrs, found, count // AT_ONCE
        return found


class _Inside:
    """Counts routes, and keeps those whose destination is inside of one of these ranges."""

    def __init__(self, cidrs: Iterable[str]) -> None:
        self.count = 0
        networks = list(map(ipaddress.ip_network, cidrs))
        self.ranges = [(item.prefixlen, item.max_prefixlen - item.prefixlen, int(item.network_address)) for item in networks]
        self._shortest = min((length for length, _, _ in self.ranges), default=0)

    def keep(self, body: bytes) -> bool:
        self.count += 1
        length = body[1]
        if length < self._shortest:
            return False
        dst = int.from_bytes(_destination(body), "big")
        return any(length >= least and dst >> bits == first >> bits for least, bits, first in self.ranges)


def _destination(body: bytes) -> bytes:
    """Without a dictionary of the attributes, as it is for each route of the host."""
    start = _HEADER
    while start + _ATTRIBUTE.size <= len(body):
        size, kind = _ATTRIBUTE.unpack_from(body, start)
        if kind == _DST:
            return body[start + _ATTRIBUTE.size : start + size]
        start += max((size + 3) & ~3, _ATTRIBUTE.size)
    return b""
