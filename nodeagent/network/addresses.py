"""Pod addresses of one node: the lowest after the last one given, so that an address rests before it is used again."""

from __future__ import annotations

import ipaddress

from nodeagent.network.interface import NetworkError


class Ipam:
    """`taken` maps a pod's uid to its address; the caller keeps it on disk with the pod."""

    def __init__(self, pod_cidr: str) -> None:
        self._network = ipaddress.IPv4Network(pod_cidr)
        self._taken: dict[str, int] = {}
        # Offset 0 is the VTEP, 1 the bridge; the last is the broadcast address.
        self._last = 1

    def contains(self, address: str) -> bool:
        return ipaddress.IPv4Address(address) in self._network

    def hold(self, pod: str, address: str) -> None:
        """Record an address that a pod already has. Raises NetworkError when another pod has it, or none could."""
        offset = int(ipaddress.IPv4Address(address)) - int(self._network.network_address)
        if not 2 <= offset < self._network.num_addresses - 1:
            raise NetworkError(f"{address} is no pod address of {self._network}")
        if self._taken.get(pod, offset) != offset or offset in {o for p, o in self._taken.items() if p != pod}:
            raise NetworkError(f"address {address} is taken")
        self._taken[pod] = offset

    def allocate(self, pod: str) -> str:
        """The pod's address; the same again for the same pod. Raises NetworkError when none is free."""
        if pod not in self._taken:
            used = set(self._taken.values())
            size = self._network.num_addresses
            candidates = (2 + (self._last - 1 + step) % (size - 3) for step in range(size - 3))
            offset = next((offset for offset in candidates if offset not in used), None)
            if offset is None:
                raise NetworkError(f"no address is left in {self._network}")
            self._taken[pod] = self._last = offset
        return str(self._network.network_address + self._taken[pod])

    def release(self, pod: str) -> None:
        self._taken.pop(pod, None)
