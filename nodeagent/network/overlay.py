"""The node's network: the `Network` of the interface, over one thread that owns netlink and nftables.

Two tables are private to the node, and made when its pod CIDR is known: family `inet` (see `ruleset`), of which elements
change with peers and host ports, and family `bridge`, which gets one element for each pod.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from nodeagent.network import conntrack, dnsrules, elements, guard, nat, plan, repairs
from nodeagent.network.elements import Element, Fragment
from nodeagent.network.fastpath import skeleton as fastpath
from nodeagent.network.fastpath.fastpath import FastPath
from nodeagent.network.fastpath.node import NodeFastPath
from nodeagent.network.guard import Binding
from nodeagent.network.hostportconnections import HostPortConnections
from nodeagent.network.interface import Comparison, HostPort, NetworkError, Node, Peer
from nodeagent.network.loadbalancer import rules
from nodeagent.network.loadbalancer.answering import Answering
from nodeagent.network.netlink import BRIDGE, Netlink
from nodeagent.network.nftables import Nftables
from nodeagent.network.nftrepair import NftRepair
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.notifications import Notifications
from nodeagent.network.podaddress import gateway_of, pod_addresses
from nodeagent.network.policies import skeleton as policies
from nodeagent.network.ports import PREFIX, bridge_mac
from nodeagent.network.repairs import Part, State
from nodeagent.network.ruleset import Ruleset
from nodeagent.network.services import nodeports, skeleton
from nodeagent.network.services.model import facts_of
from nodeagent.network.wireguard import TunnelPeer
from pinnace.ipfamilies import FAMILIES, Family, families_of

T = TypeVar("T")
log = logging.getLogger("pinnace.network")
# Seconds for one visit to the kernel.
DEADLINE = 30.0
# Peers that are left out, at once.
MAX_LOGGED = 20


def device_of(pod: str) -> str:
    """The host side of a pod's veth pair; a device name has at most 15 characters."""
    return PREFIX + hashlib.sha256(pod.encode()).hexdigest()[:11]


class OverlayNetwork:
    def __init__(
        self, forwarding: Path, keys: Path, reachable_from: Sequence[str] = (), *, node_ports: Sequence[str] = (),
        fast_path: FastPath | None = None,
    ) -> None:  # fmt: skip
        """`forwarding` is a file, in memory: it is there when this agent has enabled forwarding on the host; the same with a 6,
        of IPv6. `keys` is the directory of the node's WireGuard key. Networks of `reachable_from` reach pods and Services, as
        if the host had forwarded before. NodePorts answer at addresses in the networks `node_ports`; none: at the node's own.
        `fast_path` None: there is none."""
        self._forwarding = forwarding
        self._reachable_from, self._node_ports = tuple(reachable_from), tuple(node_ports)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="netlink")
        self.fast_path = NodeFastPath(fast_path)
        self._netlink: Netlink | None = None
        self._nft = Nftables()
        self.ruleset = Ruleset(self._nft)
        self._answering = Answering(self.ruleset)
        self._nft_repair: NftRepair | None = None
        self._notifications: Notifications | None = None
        self._state = State(keys)
        self._ports: dict[str, tuple[HostPort, ...]] = {}
        # Of attached pods, network namespace and addresses.
        self._places: dict[str, tuple[Path, tuple[str, ...]]] = {}
        self._peers: frozenset[str] = frozenset()
        # Peers that are left out, and whose pod CIDR it is.
        self._overlapping: dict[str, str] = {}
        # The host ports that the kernel has; None: unknown.
        self._programmed: tuple[HostPort, ...] | None = None
        self._programming = asyncio.Lock()
        # Of the thread: the elements of the host ports that were declared last, and those that have changed since a declaration
        # succeeded. None: the table is not there yet.
        self._port_elements: frozenset[Element] | None = None
        self._changed_ports: frozenset[Element] = frozenset()
        self._connections = HostPortConnections(self.visit, self._delete_connections)
        # Called once the devices and tables of a node are there.
        self.configured: Callable[[Node], None] = lambda node: None

    async def _run(self, work: Callable[[Netlink], T]) -> T:
        def visit() -> T:
            if self._netlink is None:
                self._netlink = Netlink()
            try:
                return work(self._netlink)
            finally:
                # Whatever it has changed: no flow of before counts.
                self.fast_path.bump()

        try:
            async with asyncio.timeout(DEADLINE):
                return await asyncio.get_running_loop().run_in_executor(self._thread, visit)
        except TimeoutError:
            raise NetworkError(f"the kernel did not answer within {DEADLINE:.0f} s") from None

    async def setup(self, underlay: Node) -> None:
        def work(netlink: Netlink) -> Node:
            netlink.check(underlay)
            node = netlink.encrypt(underlay, self._state.keys) if underlay.encrypt else underlay
            node = dataclasses.replace(node, fast_path=self.fast_path.open())
            netlink.setup(node)
            found = sorted(netlink.bindings())
            there = {item.device: [other for other in found if other.device == item.device] for item in found}
            # Those that this agent has made or found are known better than the kernel has them, if it was disturbed.
            self._state.bindings = there | self._state.bindings
            # An agent that starts again may attach a pod before it knows its peers: their packets are accepted meanwhile.
            self._peers = self._peers or frozenset(entry.dst for entry in netlink.read().fdb)
            mac = bridge_mac(gateway_of(node.pod_cidr).address)
            self._nft.run(guard.bridge_rules(elements.TABLE, PREFIX, self._state.all_bindings(), mac=mac))
            self._nft.run(guard.port_rules(elements.TABLE))
            for family in families_of(node.pod_cidrs):
                if netlink.enable_forwarding(family):
                    self._forwarding.parent.mkdir(parents=True, exist_ok=True)
                    self._enabled(family).touch()
            self.ruleset.ensure(self._fragments(node))
            if self._port_elements is None:
                # Those of an earlier agent.
                listed = self.ruleset.listing([nat.HOST_PORTS]).elements
                self._port_elements = frozenset[Element]().union(*listed.values())
            netlink.keep_half_closed()
            self.ruleset.declare(guard.PEERS, guard.peers(self._peers))
            # Once more: the kernel has those of connection tracking since there are rules for it.
            netlink.write_settings(node)
            self.fast_path.show(netlink, self._state.bindings)
            if not underlay.encrypt:
                # Last: an overlay that was encrypted before does not use it any more.
                netlink.remove_tunnel()
            return node

        self._state.node = await self._run(work)
        self._state.underlay = underlay
        for pod in self._places:
            self._keep(pod)
        self.configured(underlay)

    async def host_addresses(self) -> frozenset[str]:
        """All that the host has but the overlay's own. Raises NetworkError."""
        return await self._run(lambda netlink: netlink.host_addresses())

    async def visit(self, work: Callable[[], T]) -> T:
        """Run `work` on the thread that owns netlink and the ruleset. Raises NetworkError."""
        return await self._run(lambda netlink: work())

    def _enabled(self, family: Family) -> Path:
        return self._forwarding if family == 4 else self._forwarding.with_name(f"{self._forwarding.name}6")

    def _fragments(self, node: Node) -> list[Fragment]:
        routed = [family for family in FAMILIES if self._enabled(family).exists()]
        return [
            guard.fragment(node, BRIDGE, routed=routed, reachable_from=self._reachable_from),
            dnsrules.fragment(BRIDGE, self._reachable_from),
            rules.fragment(),
            nat.fragment(node, BRIDGE),
            policies.fragment(),
            skeleton.fragment(facts_of(node), nodeports.networks(self._node_ports, node.addresses)),
            *([fastpath.fragment(BRIDGE)] if node.fast_path else []),
        ]

    async def program(self, work: Callable[[Ruleset], None]) -> None:
        """Call `work` on the thread, once there is a table. Raises NetworkError."""
        if self._state.node is None:
            raise NetworkError("the node's network is not set up yet")
        await self._run(lambda netlink: work(self.ruleset))

    async def _program(self) -> None:
        """Program the host ports; concurrent callers wait for it. Raises NetworkError."""
        async with self._programming:
            ports = tuple(port for ports in self._ports.values() for port in ports)
            if self._state.node is not None and ports != self._programmed:
                self._programmed = None
                await self._run(lambda netlink: self._declare_ports(ports))
                self._programmed = ports

    def _declare_ports(self, ports: tuple[HostPort, ...]) -> None:
        """What has changed is known from the declarations, not from their transactions: after one that failed, a repair by
        another concern may apply it."""
        wanted = frozenset(nat.elements(ports))
        self._changed_ports |= wanted ^ (self._port_elements or frozenset())
        self._port_elements = wanted
        self.ruleset.declare(nat.HOST_PORTS, wanted)
        # Not before: a connection that is tracked anew is led by the new table.
        changed = (item.key[-2:] for item in self._changed_ports if item.container in nat.MAPS)
        self._connections.changed((protocol, port) for protocol, port in changed)
        self._changed_ports = frozenset()

    def _delete_connections(self, kernel: NetlinkSocket, ports: Collection[tuple[int, int]]) -> int:
        """On a thread of its own. Raises OSError."""
        return conntrack.delete_sent_to(kernel, ports)

    async def attach(self, pod: str, netns: Path, addresses: Sequence[str], ports: Sequence[HostPort] = ()) -> None:
        if self._state.node is None:
            raise NetworkError("the node has no pod range yet: its agent has not reached the control plane")
        items = pod_addresses(self._state.node.pod_cidrs, addresses)
        if not items:
            raise NetworkError(
                f"the node's pod CIDRs ({','.join(self._state.node.pod_cidrs)}) have no family of {','.join(addresses)}"
            )

        def work(netlink: Netlink) -> None:
            netlink.attach(device_of(pod), netns, items, self._bind)
            self.fast_path.bind(netlink, self._state.bindings[device_of(pod)])

        await self._run(work)
        self.resume(pod, netns, addresses, ports)
        await self._program()
        if lasting := [port for port in ports if port.protocol != "tcp"]:
            await self._connections.end(lasting)

    def _bind(self, bindings: list[Binding]) -> None:
        """All of one device, on the thread. Raises NetworkError."""
        device = bindings[0].device
        if (before := self._state.bindings.get(device, [])) == bindings:
            return
        unbound = [command for item in before for command in guard.unbind(elements.TABLE, item)]
        self._nft.run([*unbound, *(command for item in bindings for command in guard.bind(elements.TABLE, item))])
        self._state.bindings[device] = bindings

    def resume(self, pod: str, netns: Path, addresses: Sequence[str], ports: Sequence[HostPort]) -> None:
        self._ports[pod] = tuple(ports)
        self._places[pod] = netns, tuple(addresses)
        self._keep(pod)

    def _keep(self, pod: str) -> None:
        """Note how the pod is attached again, once it is known to which node."""
        (netns, addresses), device, node = self._places[pod], device_of(pod), self._state.node
        items = pod_addresses(node.pod_cidrs, addresses) if node is not None else []
        if items:
            self._state.netns[device] = netns
            self._state.attach[device] = lambda netlink, mac: netlink.attach(device, netns, items, self._bind, mac=mac)

    async def detach(self, pod: str) -> None:
        self._places.pop(pod, None)
        for known in (self._state.attach, self._state.netns):
            known.pop(device_of(pod), None)
        if self._ports.pop(pod, ()):
            await self._program()
            await self._connections.end(())

        def work(netlink: Netlink) -> None:
            self.fast_path.unbind(device_of(pod))
            bindings = self._state.bindings.pop(device_of(pod), [])
            netlink.detach(device_of(pod), [item.address for item in bindings])
            if bindings:
                self._nft.run([command for item in bindings for command in guard.unbind(elements.TABLE, item)])

        await self._run(work)

    async def serve_names(self, addresses: Sequence[str]) -> None:
        if self._state.node is None:
            raise NetworkError("the node has no pod range yet: its agent has not reached the control plane")

        def work(netlink: Netlink) -> None:
            # First: no packet is to be tracked or translated.
            self.ruleset.declare(dnsrules.CONCERN, dnsrules.elements(addresses))
            netlink.serve_names(addresses)
            self._state.dns = tuple(addresses)

        await self._run(work)

    async def sync(self, peers: Sequence[Peer]) -> int:
        if self._state.node is None:
            return 0
        tunnels: frozenset[TunnelPeer] = frozenset()
        if self._state.underlay is not None and self._state.underlay.encrypt:
            tunnels, peers = plan.encrypted(self._state.underlay, peers)
        chosen = plan.choose(self._state.node, peers)
        self._name(chosen.overlapping)
        want = plan.table(self._state.node, chosen.peers)
        addresses, encrypted = frozenset(entry.dst for entry in want.fdb), self._state.node.encrypt

        def work(netlink: Netlink) -> int:
            # First: a repair follows also when the rest fails.
            self._state.table, self._state.tunnels = want, tunnels
            if addresses != self._peers:
                # Before their entries: a peer that is programmed may send at once.
                self._peers = addresses
                self.ruleset.declare(guard.PEERS, guard.peers(addresses))
            if self.ruleset.stale:
                self.ruleset.repair()
            wrong = netlink.sync_tunnel(tunnels) if encrypted else 0
            change = plan.difference(want, netlink.read())
            if change.size:
                netlink.apply(change)
            return wrong + change.size

        try:
            wrong = await self._run(work)
        except NetworkError:
            # Peers that fail do not hold back the host ports.
            await self._program()
            await self._connections.end(())
            raise
        await self._program()
        await self._connections.end(())
        return wrong

    def _name(self, overlapping: dict[str, str]) -> None:
        """Log the peers that are left out since the last time because another node has their pod CIDR."""
        new = [(name, holder) for name, holder in overlapping.items() if self._overlapping.get(name) != holder]
        for name, holder in new[:MAX_LOGGED]:
            log.error("peer_left_out node=%s error=its pod CIDR overlaps with that of node %s", name, holder)
        if len(new) > MAX_LOGGED:
            log.error("peers_left_out number=%d", len(new))
        self._overlapping = overlapping

    def watch(self, changed: Callable[[], None]) -> None:
        def notified(foreign: bool) -> None:
            # Rules of others count, and so do our own.
            self.fast_path.bump()
            if foreign:
                changed()

        if self._notifications is not None:
            # Of a reconciler that has failed and begins again.
            self._notifications.close()
        self._notifications = Notifications(notified)
        self._notifications.start()

    async def verify(self) -> Comparison:
        return await self._run(lambda netlink: self._compared(netlink, fix=False))

    async def repair(self) -> Comparison:
        def work(netlink: Netlink) -> Comparison:
            try:
                return self._compared(netlink, fix=True)
            finally:
                # Each time: a device may have been made again by a repair that failed later on.
                self.fast_path.show(netlink, self._state.bindings)

        found = await self._run(work)
        try:
            await self._connections.end()
        except NetworkError as error:
            found.errors.append(error)
        return found

    def _compared(self, netlink: Netlink, *, fix: bool) -> Comparison:
        whole, clash = repairs.compare(self._parts(netlink, thorough=not fix), fix=fix), list[str]()
        if (node := self._state.underlay) is not None:
            # Last: what a repair has replaced is not in the way any more.
            whole.errors.attempt(lambda: clash.append(netlink.clash(node, thorough=not fix)))
        return dataclasses.replace(whole, clash="".join(clash))

    def _parts(self, netlink: Netlink, *, thorough: bool) -> Iterator[Part]:
        """The guard first: what it keeps out must not come in by a device that is repaired."""
        if self._state.node is None:
            return
        yield Part(lambda: Comparison(self._nftables().verify(thorough=thorough)), lambda found: self._nftables().repair(found))
        yield Part(lambda: repairs.verify(netlink, self._state), lambda found: repairs.repair(netlink, self._state, found))
        if (underlay := self._state.underlay) is not None:
            own, answering = underlay.address, self._answering
            yield Part(lambda: answering.verify(netlink, own), lambda found: answering.repair(netlink, own))

    def _nftables(self) -> NftRepair:
        """Raises NetworkError."""
        if self._nft_repair is None:
            self._nft_repair = NftRepair(self._nft, self.ruleset, self._state.all_bindings, self._state.bridge_mac)
        return self._nft_repair

    async def answer_for(self, addresses: Collection[str]) -> tuple[str, str]:
        """See loadbalancer.announcer.Kernel."""
        node = self._state.underlay
        if node is None:
            raise NetworkError("the node's network is not set up yet")
        device = await self._run(lambda netlink: self._answering.set(netlink, node.address, addresses))
        return device.name, device.mac

    async def answered(self) -> frozenset[str]:
        """See loadbalancer.announcer.Kernel."""
        return frozenset(address for address, _ in await self._run(lambda netlink: netlink.answered()))

    async def close(self) -> None:
        if self._notifications is not None:
            self._notifications.close()
        if self._nft_repair is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._nft_repair.close)
        if self._netlink is not None:
            await self._run(lambda netlink: netlink.close())
        await asyncio.get_running_loop().run_in_executor(self._thread, self._nft.close)
        await asyncio.get_running_loop().run_in_executor(self._thread, self.fast_path.close)
        self._thread.shutdown()
