"""Which connections there are, and which one gives its place to another."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Iterator

from controlplane.http.connection import Connection
from controlplane.http.limits import Limits

# Connections that are being closed, in addition to the limit.
CLOSING = 64


class Places:
    """The connections, in the order in which they were accepted."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._connections: dict[Connection, None] = {}
        self._room = asyncio.Event()

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._connections)

    def add(self, connection: Connection) -> None:
        self._connections[connection] = None

    def remove(self, connection: Connection) -> None:
        del self._connections[connection]
        self._room.set()

    async def wait(self) -> None:
        """Until so few strangers' connections are there, closing ones included, that another may be accepted."""
        while sum(not found.user for found in self._connections) >= self._limits.connections + CLOSING:
            self._room.clear()
            await self._room.wait()

    def make_room(self, peer: str) -> bool:
        """Evict a connection where the limits say so; False when all that count are being served."""
        counted = [found for found in self._connections if not found.evicted and not found.user]
        of_peer = [found for found in counted if found.peer == peer]
        if len(of_peer) >= self._limits.per_peer:
            return self._evict(of_peer)
        if len(counted) < self._limits.connections:
            return True
        waiting = [found for found in counted if not found.serving]
        counts = Counter(found.peer for found in waiting)
        most = max(counts.values(), default=0)
        return self._evict([found for found in waiting if counts[found.peer] == most])

    def admit(self, connection: Connection, user: str) -> bool:
        known = [found for found in self._connections if found.user and not found.evicted and found is not connection]
        own = [found for found in known if found.user == user]
        full = len(own) >= self._limits.per_user or len(known) >= self._limits.clients
        if full and not self._evict(own):
            return False
        connection.user = user
        self._room.set()
        return True

    def serving(self) -> int:
        """Strangers that are being served."""
        return sum(found.serving and not found.user for found in self._connections)

    def _evict(self, candidates: list[Connection]) -> bool:
        for found in candidates:
            if not found.serving and found.task is not None:
                found.evicted = True
                found.task.cancel()
                return True
        return False


def peer_of(address: str) -> str:
    """What limits are per: an IPv4 address, or the /64 that an IPv6 host has for itself."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.ip_network((int(found) >> 64 << 64, 64)))
    return str(found)
