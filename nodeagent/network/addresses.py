"""Pod addresses of one node: the lowest after the last one given, so that an address rests before it is used again.

Other nodes may have the former pod of an address in groups of their NetworkPolicies for a moment, and clients in their caches.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

from nodeagent.network.interface import NetworkError
from pinnace.ipfamilies import family_of

# Offsets of a range that pods may have: more than a node's pods ever need, and an IPv6 range has 2^64.
MAX_OFFSETS = 1 << 20


class Ipam:
    """Of a node with `pod_cidrs`, one for each address family: a pod's addresses have the same offset in each. The caller keeps
    them on disk with the pod."""

    def __init__(self, *pod_cidrs: str, last: int = 1, allocated: Callable[[int], None] = lambda offset: None) -> None:
        """`last` is the offset that was given last, `allocated` is called with each that is: the caller keeps it too."""
        self._networks = {family_of(cidr): ipaddress.ip_network(cidr) for cidr in pod_cidrs}
        self._size = min(MAX_OFFSETS, *(network.num_addresses for network in self._networks.values()))
        self._taken: dict[str, int] = {}
        # Offset 0 is the VTEP, 1 the bridge; the last is the broadcast address.
        self._last = last
        self._allocated = allocated

    @property
    def _shown(self) -> str:
        return ",".join(map(str, self._networks.values()))

    def serves(self, pod_cidrs: Sequence[str]) -> bool:
        """Whether these are its ranges."""
        return [str(network) for network in self._networks.values()] == list(pod_cidrs)

    def contains(self, address: str) -> bool:
        network = self._networks.get(family_of(address))
        return network is not None and ipaddress.ip_address(address) in network

    def hold(self, pod: str, *addresses: str) -> None:
        """Record the addresses that a pod already has; it may lack a family. Raises NetworkError when another pod has them, or
        none could."""
        for address in addresses:
            offset = self._offset(address)
            if self._taken.get(pod, offset) != offset or offset in {o for p, o in self._taken.items() if p != pod}:
                raise NetworkError(f"address {address} is taken")
            self._taken[pod] = offset

    def _offset(self, address: str) -> int:
        network = self._networks.get(family_of(address))
        offset = int(ipaddress.ip_address(address)) - int(network.network_address) if network is not None else -1
        if not 2 <= offset < self._size - 1:
            raise NetworkError(f"{address} is not a pod address of {self._shown}")
        return offset

    def allocate(self, pod: str) -> tuple[str, ...]:
        """The pod's addresses, the primary one first; the same again for the same pod. Raises NetworkError: none is free."""
        if pod not in self._taken:
            used = set(self._taken.values())
            candidates = (2 + (self._last - 1 + step) % (self._size - 3) for step in range(self._size - 3))
            offset = next((offset for offset in candidates if offset not in used), None)
            if offset is None:
                raise NetworkError(f"no address is left in {self._shown}")
            self._taken[pod] = self._last = offset
            self._allocated(offset)
        return tuple(str(network.network_address + self._taken[pod]) for network in self._networks.values())

    def release(self, pod: str) -> None:
        self._taken.pop(pod, None)
