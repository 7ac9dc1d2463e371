"""The node's network: the `Network` of the seam, over one netlink thread."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from nodeagent.network import nat, plan
from nodeagent.network.netlink import BRIDGE, Netlink
from nodeagent.network.ports import PREFIX
from nodeagent.network.seam import HostPort, NetworkError, Node, Peer

T = TypeVar("T")
# Seconds for one visit to the kernel.
DEADLINE = 30.0


def device_of(pod: str) -> str:
    """The host side of a pod's veth pair; a device name has at most 15 characters."""
    return PREFIX + hashlib.sha256(pod.encode()).hexdigest()[:11]


class OverlayNetwork:
    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="netlink")
        self._netlink: Netlink | None = None
        self._node: Node | None = None
        self._ports: dict[str, tuple[HostPort, ...]] = {}
        # Whether the address translation in the kernel is not what it should be.
        self._stale = True
        self._translating = asyncio.Lock()

    async def _run(self, work: Callable[[Netlink], T]) -> T:
        def visit() -> T:
            if self._netlink is None:
                self._netlink = Netlink()
            self._netlink.visit()
            return work(self._netlink)

        try:
            async with asyncio.timeout(DEADLINE):
                return await asyncio.get_running_loop().run_in_executor(self._thread, visit)
        except TimeoutError:
            raise NetworkError(f"the kernel did not answer within {DEADLINE:.0f} s") from None

    async def setup(self, node: Node) -> None:
        await self._run(lambda netlink: netlink.setup(node))
        # Not applied here: after a restart of the agent the pods' ports are not known yet, and the old table serves.
        self._stale = self._stale or node != self._node
        self._node = node

    async def _translate(self) -> None:
        """Raises NetworkError. Whoever finds somebody at it waits: a pod is not attached before its table is there."""
        async with self._translating:
            if self._node is None or not self._stale:
                return
            self._stale = False
            try:
                await nat.apply(self._node, BRIDGE, [port for ports in self._ports.values() for port in ports])
            except BaseException:
                self._stale = True
                raise

    async def attach(self, pod: str, netns: Path, address: str, ports: Sequence[HostPort] = ()) -> None:
        if self._node is None:
            raise NetworkError("the node has no pod range yet: its agent has not reached the control plane")
        network = ipaddress.IPv4Network(self._node.pod_cidr)
        gateway = str(network.network_address + 1)
        await self._run(lambda netlink: netlink.attach(device_of(pod), netns, address, network.prefixlen, gateway))
        self.resume(pod, ports)
        await self._translate()

    def resume(self, pod: str, ports: Sequence[HostPort]) -> None:
        if tuple(ports) != self._ports.get(pod, ()):
            self._ports[pod] = tuple(ports)
            self._stale = True

    async def detach(self, pod: str) -> None:
        if self._ports.pop(pod, ()):
            self._stale = True
            await self._translate()
        await self._run(lambda netlink: netlink.detach(device_of(pod)))

    async def sync(self, peers: Sequence[Peer]) -> int:
        if self._node is None:
            return 0
        await self._translate()
        want = plan.wanted(self._node, peers)

        def work(netlink: Netlink) -> int:
            change = plan.difference(want, netlink.read())
            if change.size:
                netlink.apply(change)
            return change.size

        return await self._run(work)

    async def close(self) -> None:
        if self._netlink is not None:
            await self._run(lambda netlink: netlink.close())
        self._thread.shutdown()
