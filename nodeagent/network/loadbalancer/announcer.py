"""Has this node answer for the addresses of Services that the control plane has given it.

Which node answers for a Service is an annotation of it. A node that is given an address announces it three times, so that the
hosts of the underlay send to it at once. The one that had it may be cut off from the control plane, and not know: a node
without a session that hears another announce an address of its own leaves it to that one, until it has a session again. A node
with a session announces it once more.

An agent that starts has its addresses from the disk. Those that the kernel still has stay: the node answered for them all the
time. After a reboot it has none, and another node may have taken them meanwhile; the node waits for the control plane.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol

from nodeagent.network.interface import NetworkError
from nodeagent.network.loadbalancer.addresssocket import AddressSocket
from pinnace import kinds, services
from pinnace.clock import Clock
from pinnace.core.v1.service_pb2 import Service
from pinnace.wellknown import ANNOTATION_ANNOUNCED_BY

log = logging.getLogger("pinnace.loadbalancer")
KINDS = (kinds.SERVICE.kind,)
# Announcements of a new address, and seconds between them (RFC 5227: ANNOUNCE_NUM, ANNOUNCE_INTERVAL, one more for losses).
ANNOUNCEMENTS, INTERVAL = 3, 1.0
# Seconds between looks at the underlay's device, and before another try after a failure.
RESYNC, RETRY = 5.0, 1.0
# Addresses of one Service; the control plane gives one of each family.
MAX_ADDRESSES = 8


class Change(Protocol):
    """Of the agent's assignment; `new` is None for an object that is gone."""

    @property
    def key(self) -> str: ...
    @property
    def new(self) -> Any | None: ...


class Kernel(Protocol):
    async def answer_for(self, addresses: Collection[str]) -> tuple[str, str]:
        """Have the kernel answer for exactly these addresses; returns name and MAC of the underlay's device. Raises
        NetworkError."""

    async def answered(self) -> frozenset[str]:
        """The addresses for which it answers. Raises NetworkError."""


def answered_by(service: Service, node: str) -> frozenset[str]:
    """Addresses of a Service for which a node is to answer. Pure."""
    spec = service.spec
    if spec.type != services.LOAD_BALANCER or spec.HasField("loadBalancerClass"):
        return frozenset()
    if service.metadata.annotations.get(ANNOTATION_ANNOUNCED_BY) != node:
        return frozenset()
    addresses = [entry.ip for entry in service.status.loadBalancer.ingress[:MAX_ADDRESSES]]
    return frozenset(filter(None, addresses))


class Announcer:
    """`open_socket`: announcements on a device, by its name and MAC."""

    def __init__(
        self, kernel: Kernel, clock: Clock, node: str, open_socket: Callable[[str, str], AddressSocket] = AddressSocket
    ) -> None:  # fmt: skip
        self._kernel, self._clock, self._node, self._open_socket = kernel, clock, node, open_socket
        self._changed = asyncio.Event()
        # Addresses by Service; those that are left to another node, which has announced them or may have; and whether those
        # of an earlier agent are yet to be compared with the kernel's; announcements that are left.
        self._addresses: dict[str, frozenset[str]] = {}
        self._yielded: set[str] = set()
        self._is_restored = False
        self._left: dict[str, int] = {}
        self._socket: AddressSocket | None = None
        # Name and MAC of the underlay's device at the last announcement.
        self._place: tuple[str, str] | None = None
        # Whether there is a session with the control plane, which has brought all of the assignment.
        self.connected: Callable[[], bool] = lambda: False

    def restore(self, items: Iterable[Service]) -> None:
        """What an earlier agent had. It is not announced: another node may have it by now."""
        for item in items:
            self._set(f"{item.metadata.namespace}/{item.metadata.name}", answered_by(item, self._node))
        self._is_restored = True

    def changed(self, changes: Iterable[Change]) -> None:
        """Services that the control plane has added, changed or removed."""
        for change in changes:
            service, key = change.new, change.key.partition("/")[2]
            found = answered_by(service, self._node) if service is not None else frozenset()
            if service is not None and found and (count := len(service.status.loadBalancer.ingress)) > MAX_ADDRESSES:
                log.warning("addresses_left_out service=%s count=%d used=%d", key, count, MAX_ADDRESSES)
            before = self._addresses.get(key, frozenset()) - self._yielded
            self._yielded -= found
            for address in found - before:
                self._left[address] = ANNOUNCEMENTS
            self._set(key, found)

    def _set(self, key: str, addresses: frozenset[str]) -> None:
        if addresses == self._addresses.get(key, frozenset()) and not self._left:
            return
        if addresses:
            self._addresses[key] = addresses
        else:
            self._addresses.pop(key, None)
        self._yielded &= frozenset().union(*self._addresses.values())
        self._changed.set()

    @property
    def addresses(self) -> frozenset[str]:
        """Those that this node answers for."""
        return frozenset().union(*self._addresses.values()) - self._yielded

    async def run(self) -> None:
        """Until cancelled. The addresses stay with the node: an agent that restarts interrupts nothing."""
        try:
            while True:
                delay = await self._step()
                await self._clock.wait(self._changed, delay)
                self._changed.clear()
        finally:
            self._close()

    async def _step(self) -> float | None:
        """Program and announce what is due; returns the seconds until the next look, None for no need of one."""
        if self._yielded and self.connected():
            self._left |= dict.fromkeys(self._yielded, ANNOUNCEMENTS)
            self._yielded.clear()
        try:
            if self._is_restored:
                await self._keep_answered()
            wanted = self.addresses
            device, mac = await self._kernel.answer_for(wanted)
            if not wanted:
                self._left.clear()
                if self._yielded:
                    return INTERVAL
                self._close()
                return None
            self._listen(device, mac)
            self._announce(wanted)
        except (NetworkError, OSError) as error:
            log.error("load_balancer_failed error=%s", error)
            self._close()
            return RETRY
        return INTERVAL if self._left or self._yielded else RESYNC

    async def _keep_answered(self) -> None:
        """Leave restored addresses that the kernel does not have. Raises NetworkError."""
        before = self.addresses
        held = await self._kernel.answered()
        self._is_restored = False
        # Not what the control plane has said meanwhile.
        lost = (before & self.addresses) - held - self._left.keys()
        if lost and not self.connected():
            log.info("load_balancer_withheld addresses=%s", ",".join(sorted(lost)))
            self._yielded |= lost

    def _announce(self, wanted: frozenset[str]) -> None:
        assert self._socket is not None
        for address in sorted(self._left):
            if address in wanted:
                self._socket.announce(address)
            if address not in wanted or self._left[address] <= 1:
                del self._left[address]
            else:
                self._left[address] -= 1

    def _listen(self, device: str, mac: str) -> None:
        if self._socket is not None and (self._socket.device, self._socket.mac) == (device, mac):
            return
        self._close()
        if self._place not in (None, (device, mac)):
            # The node's address has moved: other hosts still send to the earlier MAC address.
            self._left |= dict.fromkeys(self.addresses, ANNOUNCEMENTS)
        self._socket, self._place = self._open_socket(device, mac), (device, mac)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._hear)

    def _hear(self) -> None:
        try:
            heard = self._socket.heard() if self._socket is not None else set()
        except OSError as error:
            log.error("announcements_failed error=%s", error)
            self._close()
            return
        self.heard(heard & self.addresses)

    def heard(self, addresses: Collection[str]) -> None:
        """Another host has announced these addresses, which are this node's."""
        if not addresses:
            return
        shown = ",".join(sorted(addresses))
        if self.connected():
            # With the next look at the kernel, not at once: two that both believe in an address would flood the link.
            log.warning("load_balancer_conflict addresses=%s", shown)
            self._left |= {address: 1 for address in addresses if address not in self._left}
        else:
            log.warning("load_balancer_yielded addresses=%s", shown)
            self._yielded |= set(addresses)
            self._changed.set()

    def _close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
