"""A pod's addresses and routes, as requests to the kernel of its own network namespace. Pure.

IPv4 as usual: the address in the node's range, the default route by the bridge, which answers ARP for all other pods. IPv6
without neighbour discovery, in which a pod would believe what others say: the address by itself (/128), the bridge as the
next hop to everything else, and the bridge's MAC address for good.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nodeagent.network import rtnetlink
from nodeagent.network.nlsocket import Request
from nodeagent.network.rtnetlink import Address, Entry, Route
from pinnace.ipfamilies import BITS, family_of

_DEFAULT = {4: "0.0.0.0/0", 6: "::/0"}
_THERE = (errno.EEXIST,)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A pod's way out: the bridge's address, and the length of the node's range."""

    address: str
    length: int


@dataclass(frozen=True, slots=True)
class PodAddress:
    address: str
    gateway: Gateway


def gateway_of(pod_cidr: str) -> Gateway:
    """The bridge has the second address of the node's range; the first is the VTEP's."""
    network = ipaddress.ip_network(pod_cidr)
    return Gateway(str(network.network_address + 1), network.prefixlen)


def pod_addresses(pod_cidrs: Sequence[str], addresses: Sequence[str]) -> list[PodAddress]:
    """With the gateway of their families; those of a family that the node does not have are left out."""
    gateways = {family_of(cidr): gateway_of(cidr) for cidr in pod_cidrs}
    return [PodAddress(item, gateways[family_of(item)]) for item in addresses if family_of(item) in gateways]


def requests(device: int, addresses: Sequence[PodAddress], *, gateway_mac: str) -> Iterator[Request]:
    """For the device with this index, which is up. Repeatable."""
    for item in addresses:
        family, gateway = family_of(item.address), item.gateway
        length = gateway.length if family == 4 else BITS[6]
        yield rtnetlink.add_address(Address(device, item.address, length), tolerated=_THERE)
        if family == 6:
            yield rtnetlink.replace_neighbour(Entry(device, gateway.address, gateway_mac))
            yield rtnetlink.add_route(Route(f"{gateway.address}/{BITS[6]}", oif=device), tolerated=_THERE)
        yield rtnetlink.add_route(Route(_DEFAULT[family], gateway.address, device), tolerated=_THERE)
