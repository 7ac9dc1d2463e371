"""The node's network: the `Network` of the interface, over one thread that owns netlink and nftables.

Two tables are private to the node: family `ip` (translation and guard) is replaced whole when host ports change, family
`bridge` gets one element for each pod. Both are made when the node's pod CIDR is known, from what the kernel has.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from nodeagent.network import guard, nat, nftables, plan
from nodeagent.network.guard import Binding
from nodeagent.network.interface import HostPort, NetworkError, Node, Peer
from nodeagent.network.netlink import BRIDGE, Gateway, Netlink
from nodeagent.network.nftables import Nftables
from nodeagent.network.ports import PREFIX

T = TypeVar("T")
# Seconds for one visit to the kernel.
DEADLINE = 30.0
_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}


def device_of(pod: str) -> str:
    """The host side of a pod's veth pair; a device name has at most 15 characters."""
    return PREFIX + hashlib.sha256(pod.encode()).hexdigest()[:11]


class OverlayNetwork:
    def __init__(self, forwarding: Path) -> None:
        """`forwarding` is a file, in memory: it is there when this agent has enabled forwarding on the host."""
        self._forwarding = forwarding
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="netlink")
        self._netlink: Netlink | None = None
        self._nft = Nftables()
        self._node: Node | None = None
        self._ports: dict[str, tuple[HostPort, ...]] = {}
        self._bindings: dict[str, Binding] = {}
        self._peers: frozenset[str] = frozenset()
        # What the kernel's tables were made of last; None: they are to be made.
        self._programmed: tuple[HostPort, ...] | None = None
        self._programming = asyncio.Lock()

    async def _run(self, work: Callable[[Netlink], T]) -> T:
        def visit() -> T:
            if self._netlink is None:
                self._netlink = Netlink()
            return work(self._netlink)

        try:
            async with asyncio.timeout(DEADLINE):
                return await asyncio.get_running_loop().run_in_executor(self._thread, visit)
        except TimeoutError:
            raise NetworkError(f"the kernel did not answer within {DEADLINE:.0f} s") from None

    async def setup(self, node: Node) -> None:
        def work(netlink: Netlink) -> None:
            netlink.setup(node)
            self._bindings = {item.device: item for item in netlink.bindings()}
            # An agent that starts again may attach a pod before it knows its peers: their packets are accepted meanwhile.
            self._peers = self._peers or frozenset(entry.dst for entry in netlink.read().fdb)
            self._nft.run(guard.bridge_rules(nat.TABLE, PREFIX, self._bindings.values()))
            self._nft.run(guard.port_rules(nat.TABLE, ipv6=Path("/proc/sys/net/ipv6").exists()))
            if netlink.enable_forwarding():
                self._forwarding.parent.mkdir(parents=True, exist_ok=True)
                self._forwarding.touch()

        await self._run(work)
        # The other table is not made here: after a restart of the agent the pods' ports are not known yet, and the old
        # one serves. A first one is needed before the first packet.
        if node != self._node:
            self._programmed = None
        self._node = node

    async def _program(self) -> None:
        """Make the table of family ip what it should be; concurrent callers wait for it. Raises NetworkError."""
        async with self._programming:
            node, ports = self._node, tuple(port for ports in self._ports.values() for port in ports)
            if node is None or ports == self._programmed:
                return
            before, self._programmed = self._programmed, None
            await self._run(lambda netlink: self._replace(netlink, node, ports, before or ()))
            self._programmed = ports

    def _replace(self, netlink: Netlink, node: Node, ports: tuple[HostPort, ...], before: tuple[HostPort, ...]) -> None:
        router = self._forwarding.exists()
        commands = nftables.table("ip", nat.TABLE)
        commands += nat.rules(node, BRIDGE, ports)
        commands += guard.node_rules(nat.TABLE, node, BRIDGE, self._peers, router=router)
        self._nft.run(commands)
        # UDP has no end: a client that keeps sending would be led to the pod that had the port before, or to none.
        for protocol, port in {(item.protocol, item.host_port) for item in set(ports) ^ set(before) if item.protocol != "tcp"}:
            netlink.forget_flows(_PROTOCOLS[protocol], port)

    async def attach(self, pod: str, netns: Path, address: str, ports: Sequence[HostPort] = ()) -> None:
        if self._node is None:
            raise NetworkError("the node has no pod range yet: its agent has not reached the control plane")
        network = ipaddress.IPv4Network(self._node.pod_cidr)
        gateway = Gateway(str(network.network_address + 1), network.prefixlen)
        await self._run(lambda netlink: netlink.attach(device_of(pod), netns, address, gateway, self._bind))
        self.resume(pod, ports)
        await self._program()

    def _bind(self, binding: Binding) -> None:
        """On the thread. Raises NetworkError."""
        if (before := self._bindings.get(binding.device)) == binding:
            return
        unbound = guard.unbind(nat.TABLE, before) if before is not None else []
        self._nft.run([*unbound, *guard.bind(nat.TABLE, binding)])
        self._bindings[binding.device] = binding

    def resume(self, pod: str, ports: Sequence[HostPort]) -> None:
        self._ports[pod] = tuple(ports)

    async def detach(self, pod: str) -> None:
        if self._ports.pop(pod, ()):
            await self._program()

        def work(netlink: Netlink) -> None:
            binding = self._bindings.pop(device_of(pod), None)
            netlink.detach(device_of(pod), binding.address if binding is not None else "")
            if binding is not None:
                self._nft.run(guard.unbind(nat.TABLE, binding))

        await self._run(work)

    async def sync(self, peers: Sequence[Peer]) -> int:
        if self._node is None:
            return 0
        want = plan.wanted(self._node, peers)
        addresses = frozenset(entry.dst for entry in want.fdb)

        def work(netlink: Netlink) -> int:
            if addresses != self._peers:
                # Before their entries: a peer that is programmed may send at once.
                self._nft.run(guard.set_peers(nat.TABLE, addresses))
                self._peers = addresses
            change = plan.difference(want, netlink.read())
            if change.size:
                netlink.apply(change)
            return change.size

        if self._programmed is None:
            self._peers = addresses
        await self._program()
        return await self._run(work)

    async def close(self) -> None:
        if self._netlink is not None:
            await self._run(lambda netlink: netlink.close())
        await asyncio.get_running_loop().run_in_executor(self._thread, self._nft.close)
        self._thread.shutdown()
