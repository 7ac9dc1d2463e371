"""Keeps the node's network as the control plane last described it: pod CIDR, devices and an entry for each peer.

The last welcome is on disk, so that pods are reachable before the control plane is. Entries are programmed on change and on
a timer, because they do vanish (moby#52661). What is no longer as programmed is repaired within 5 s, and counted by kind.

Each comparison begins with the node's own addresses. When they change, the network is set up at the new ones first, and only
then are they announced: an address that clashes with the cluster's ranges never reaches another node.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError

from nodeagent.network.addresses import Ipam
from nodeagent.network.interface import Comparison, NetworkError, Node, Peer, RepairedNetwork
from nodeagent.network.vxlan import mac_of
from pinnace import codec, pki
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import Clock
from pinnace.core.v1 import node_pb2

log = logging.getLogger("pinnace.network")
# Seconds between comparisons with the kernel's state; before another try after a failure; and between comparisons that the
# kernel's notifications start, of which one change causes several.
RESYNC, RETRY, PAUSE = 4.5, 1.0, 0.5
# Of one repair: a flushed table is thousands.
MAX_LOGGED = 20


async def _same(current: tuple[str, ...]) -> tuple[str, ...]:
    return current


class NetworkReconciler:
    """`peers` and `addresses` (pod uid and addresses) are asked for whenever they are needed; `ranged` is called when the
    node has a pod range that it had not before, `told` with every welcome that the network was set up for, of an earlier
    agent too. `find` is NodeAddresses' method."""

    def __init__(
        self, network: RepairedNetwork, path: Path, clock: Clock, *, node: str, peers: Callable[[], list[Peer]],
        addresses: Callable[[], Iterable[tuple[str, Sequence[str]]]], ranged: Callable[[], None],
        told: Callable[[nodes_pb2.Welcome], None] = lambda welcome: None,
        find: Callable[[tuple[str, ...]], Awaitable[tuple[str, ...]]] = _same,
    ) -> None:  # fmt: skip
        self._network = network
        self._path = path
        # Has the offset of the pod address that was allocated last: a further agent continues after it.
        self._last_address = path.with_name("last-address")
        self._clock = clock
        self._node = node
        self._peers, self._addresses, self._ranged, self._told = peers, addresses, ranged, told
        self._find = find
        self._changed = asyncio.Event()
        # The assignment's peers are not those that are programmed.
        self._new_peers = True
        # What was repaired since the agent started, by kind; and the last error.
        self.repairs: Counter[str] = Counter()
        self._failure = ""
        # The kernel has notified of a change since the last comparison; and new ones wait for a moment.
        self._disturbed = self._pausing = False
        # The last welcome, and the one that the network could not be set up for; tried again until it can.
        self._welcome: nodes_pb2.Welcome | None = None
        self._unset: nodes_pb2.Welcome | None = None
        # Why the network is not set up, has no address, or (`_clash`) what of the host has got in its way since; and since when
        # it is, or is not. None: it always was.
        self.problem = self._clash = ""
        self._since: float | None = None
        self.condition_changed: Callable[[], None] = lambda: None
        # This node's addresses, one of each address family, the underlay's first; known before anything is set up. `_found`
        # has those of the host for which the network is yet to be set up.
        self.host_ips: tuple[str, ...] = ()
        self._found: tuple[str, ...] = ()
        # Why the host has none of them; then nothing can be set up.
        self._absence = ""
        # Called with the earlier addresses once the node has others.
        self.moved: Callable[[tuple[str, ...]], None] = lambda before: None
        # Which of the range's addresses are taken; None until there is a range.
        self.ipam: Ipam | None = None
        self._services: dict[str, str] = {}

    def services(self) -> Mapping[str, str]:
        """The variables by which programs in pods find the API, as kubelet names them; empty while nothing is known of it."""
        return self._services

    def conditions(self) -> list[node_pb2.NodeCondition]:
        """NetworkUnavailable, once the network could not be set up since the agent started; the heartbeat is now."""
        if self._since is None:
            return []
        found = node_pb2.NodeCondition(type="NetworkUnavailable", status=str(bool(self.problem)))
        failed = "NetworkClash" if self.problem == self._clash else "NetworkSetupFailed"
        found.reason = failed if self.problem else "NetworkIsSetUp"
        found.message = self.problem or "the node's network is set up"
        found.lastTransitionTime.CopyFrom(codec.time_of(self._since))
        found.lastHeartbeatTime.CopyFrom(codec.time_of(self._clock.now()))
        return [found]

    def unavailable(self) -> str:
        """Why the node has no network, or no address, for people; empty for none. A comparison finds what is in the way."""
        problem = self.problem if self.problem != self._clash else ""
        return problem or ("" if self.ipam is not None else "the node's network is not set up yet")

    def _set_problem(self, problem: str) -> None:
        if problem == self.problem:
            return
        if problem:
            log.error("%s error=%s", "network_clash" if problem == self._clash else "network_setup_failed", problem)
        if self._since is None or bool(problem) != bool(self.problem):
            self._since = self._clock.now()
        self.problem = problem
        self.condition_changed()

    def peers_changed(self) -> None:
        self._new_peers = True
        self._changed.set()

    async def restore(self) -> None:
        """From what the last welcome said; a torn file counts as absent."""
        pki.remove_torn(self._path.parent, self._path.name)
        try:
            welcome = nodes_pb2.Welcome.FromString(self._path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, DecodeError) as error:
            log.error("not_restored path=%s error=%s", self._path, error)
            return
        await self._setup(welcome)

    async def welcomed(self, welcome: nodes_pb2.Welcome) -> None:
        try:
            pki.write_private(self._path, welcome.SerializeToString())
        except OSError as error:
            # An agent that starts without the control plane will lack it; this one continues, or the disk stays full.
            log.error("not_stored path=%s error=%s", self._path, error)
        await self._setup(welcome)
        self.peers_changed()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            self._network.watch(self._kernel_changed)
        except OSError as error:
            # The timer remains.
            log.warning("no_notifications error=%s", error)
        while True:
            # Also during the comparison: what is repaired is notified.
            self._pausing = True
            delay = await self._sync()
            await self._clock.wait(self._changed, PAUSE)
            self._pausing = False
            if not self._disturbed:
                await self._clock.wait(self._changed, max(delay - PAUSE, 0))
            self._changed.clear()
            self._disturbed = False

    def _kernel_changed(self) -> None:
        self._disturbed = True
        if not self._pausing:
            self._changed.set()

    async def _sync(self) -> float:
        """Program what differs; returns the seconds until the next comparison."""
        await self._follow()
        if self._unset is not None:
            await self._setup(self._unset)
        # Repair in any case: peers cannot be programmed on a device that is missing, and only a repair makes it again.
        steps = (self._program, self._repair) if self._new_peers else (self._repair,)
        errors = [error for step in steps if (error := await self._error_of(step))]
        self._failed("; ".join(dict.fromkeys(errors)))
        # Of what is in the way, the kernel notifies.
        return RETRY if errors or self.problem != self._clash else RESYNC

    async def _error_of(self, step: Callable[[], Awaitable[None]]) -> str:
        """Empty for none."""
        try:
            await step()
        except NetworkError as error:
            return "; ".join([str(error), *getattr(error, "__notes__", ())])
        return ""

    async def _follow(self) -> None:
        """Note that the node's addresses have changed, or that it has none. The kernel's state stays as it is meanwhile: if the
        address returns, nothing was interrupted."""
        try:
            self._found = await self._find(self.host_ips)
        except NetworkError as error:
            self._absence = str(error)
            self._set_problem(self._absence)
            return
        self._absence = ""
        if self._found == self.host_ips:
            if self._unset is None:
                self._set_problem(self._clash)
        elif self._welcome is not None:
            self._unset = self._welcome
        else:
            self._move(self._found)

    def _move(self, addresses: tuple[str, ...]) -> None:
        before, self.host_ips = self.host_ips, addresses
        if before != addresses:
            log.warning("address_changed old=%s new=%s", ",".join(before), ",".join(addresses))
            self.moved(before)

    async def _program(self) -> None:
        self._new_peers = False
        try:
            peers = self._peers()
            programmed = await self._network.sync(peers)
        except NetworkError:
            self._new_peers = True
            raise
        if programmed:
            log.info("overlay_programmed entries=%d peers=%d", programmed, len(peers))

    async def repair(self) -> Comparison:
        """Compare and repair, also for `kctl net verify --fix`; repairs are counted and logged. Raises NetworkError."""
        comparison = await self._network.repair()
        repaired = comparison.repaired
        for item in repaired:
            self.repairs[item.kind] += 1
        for item in repaired[:MAX_LOGGED]:
            log.warning("network_repaired kind=%s item=%r wanted=%r actual=%r", item.kind, item.item, item.wanted, item.actual)
        if len(repaired) > MAX_LOGGED:
            log.warning("network_repaired_more number=%d", len(repaired) - MAX_LOGGED)
        return comparison

    async def _repair(self) -> None:
        comparison = await self.repair()
        before, self._clash = self._clash, comparison.clash
        if self.problem in ("", before):
            self._set_problem(self._clash)
        comparison.errors.check()

    def _failed(self, error: str) -> None:
        """Log an error once, until it is another or has ended."""
        if error and error != self._failure:
            log.error("overlay_failed error=%s", error)
        self._failure = error

    async def _setup(self, welcome: nodes_pb2.Welcome) -> None:
        self._welcome, self._services = welcome, _variables(welcome)
        host_ips = self._found or self.host_ips
        node = Node(
            pod_cidrs=tuple(welcome.podCIDRs) or (welcome.podCIDR,), cluster_cidrs=tuple(welcome.clusterCIDRs),
            address=next(iter(host_ips), ""), mac=mac_of(self._node), vni=welcome.vni, port=welcome.vxlanPort,
            name=self._node, zone=welcome.zone, service_cidrs=tuple(welcome.serviceCIDRs), dns=tuple(welcome.clusterDNS),
            addresses=host_ips, encrypt=welcome.encrypt,
        )  # fmt: skip
        try:
            await self._network.setup(node)
        except NetworkError as error:
            self._set_problem(self._absence or str(error))
            self._unset = welcome
            return
        self._unset = None
        # What was programmed before, if anything, was for another network or for none.
        self._new_peers = True
        self._move(host_ips)
        self._clash = ""
        self._set_problem("")
        self._told(welcome)
        if self.ipam is None or not self.ipam.serves(node.pod_cidrs):
            self.ipam = Ipam(*node.pod_cidrs, last=self._read_last_address(), allocated=self._store_last_address)
            for uid, addresses in self._addresses():
                self.ipam.hold(uid, *filter(self.ipam.contains, addresses))
            self._ranged()

    def _read_last_address(self) -> int:
        try:
            return max(1, int(self._last_address.read_text(encoding="ascii")))
        except (OSError, ValueError):
            return 1

    def _store_last_address(self, offset: int) -> None:
        try:
            pki.write_private(self._last_address, str(offset).encode("ascii"), sync=False)
        except OSError as error:
            log.error("not_stored path=%s error=%s", self._last_address, error)


def _variables(welcome: nodes_pb2.Welcome) -> dict[str, str]:
    if not welcome.apiHost:
        return {}
    return {"KUBERNETES_SERVICE_HOST": welcome.apiHost, "KUBERNETES_SERVICE_PORT": str(welcome.apiPort)}
