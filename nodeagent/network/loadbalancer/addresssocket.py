"""ARP and neighbour advertisements on one device, as one socket: announcing addresses of both families, and hearing others."""

from __future__ import annotations

import contextlib
import select

from nodeagent.network.loadbalancer.arp import ArpSocket
from nodeagent.network.loadbalancer.ndp import NdpSocket
from nodeagent.network.sysctls import has_ipv6
from pinnace.ipfamilies import Family, family_of


class AddressSocket:
    """Raises OSError."""

    def __init__(self, device: str, mac: str) -> None:
        self.device, self.mac = device, mac
        with contextlib.ExitStack() as opened:
            self._parts: dict[Family, ArpSocket | NdpSocket] = {4: ArpSocket(device, mac)}
            opened.callback(self._parts[4].close)
            if has_ipv6():
                self._parts[6] = NdpSocket(device, mac)
                opened.callback(self._parts[6].close)
            self._epoll = select.epoll()
            opened.callback(self._epoll.close)
            for part in self._parts.values():
                self._epoll.register(part.fileno(), select.EPOLLIN)
            self._opened = opened.pop_all()

    def fileno(self) -> int:
        """Readable when one of both is."""
        return self._epoll.fileno()

    def announce(self, address: str) -> None:
        if (part := self._parts.get(family_of(address))) is not None:
            part.announce(address)

    def heard(self) -> set[str]:
        """Addresses that other hosts have announced since."""
        return set[str]().union(*(part.heard() for part in self._parts.values()))

    def close(self) -> None:
        self._opened.close()
