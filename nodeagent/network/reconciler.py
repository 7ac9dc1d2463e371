"""Keeps the node's network as the control plane last described it: pod CIDR, devices and an entry for each peer.

The last welcome is on disk, so that pods are reachable before the control plane is. Entries are programmed on change and on
a timer, because they do vanish (moby#52661).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from google.protobuf.message import DecodeError

from nodeagent.network.addresses import Ipam
from nodeagent.network.interface import Network, NetworkError, Node, Peer
from nodeagent.network.vxlan import mac_of
from pinnace import pki
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import Clock

log = logging.getLogger("pinnace.network")
# Seconds between looks at the overlay's entries; and before another try after a failure.
RESYNC, RETRY = 30.0, 1.0


class NetworkReconciler:
    """`peers` and `addresses` (pod uid and address) are asked for whenever they are needed; `ranged` is called when the
    node has a pod range that it had not before."""

    def __init__(
        self, network: Network, path: Path, clock: Clock, *, node: str, peers: Callable[[], list[Peer]],
        addresses: Callable[[], Iterable[tuple[str, str]]], ranged: Callable[[], None],
    ) -> None:  # fmt: skip
        self._network = network
        self._path = path
        self._clock = clock
        self._node = node
        self._peers, self._addresses, self._ranged = peers, addresses, ranged
        self._changed = asyncio.Event()
        # What the network could not be set up for; tried again until it can.
        self._unset: nodes_pb2.Welcome | None = None
        # This node's underlay address; known before anything is set up.
        self.address = ""
        # Which of the range's addresses are taken; None until there is a range.
        self.ipam: Ipam | None = None
        self._services: dict[str, str] = {}

    def services(self) -> Mapping[str, str]:
        """The variables by which programs in pods find the API, as kubelet names them; empty while nothing is known of it."""
        return self._services

    def peers_changed(self) -> None:
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
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            delay = await self._sync()
            await self._clock.wait(self._changed, delay)
            self._changed.clear()

    async def _sync(self) -> float:
        """Program what differs; returns the seconds until the next look."""
        if self._unset is not None:
            await self._setup(self._unset)
        try:
            peers = self._peers()
            wrong = await self._network.sync(peers)
        except NetworkError as error:
            log.error("overlay_failed error=%s", error)
            return RETRY
        if wrong:
            log.info("overlay_programmed entries=%d peers=%d", wrong, len(peers))
        return RESYNC if self._unset is None else RETRY

    async def _setup(self, welcome: nodes_pb2.Welcome) -> None:
        self._services = _variables(welcome)
        node = Node(
            pod_cidr=welcome.podCIDR, cluster_cidrs=tuple(welcome.clusterCIDRs), address=self.address,
            mac=mac_of(self._node), vni=welcome.vni, port=welcome.vxlanPort,
        )  # fmt: skip
        try:
            await self._network.setup(node)
        except NetworkError as error:
            log.error("network_setup_failed error=%s", error)
            self._unset = welcome
            return
        self._unset = None
        if self.ipam is None or not self.ipam.contains(str(welcome.podCIDR).partition("/")[0]):
            self.ipam = Ipam(welcome.podCIDR)
            for uid, address in self._addresses():
                if self.ipam.contains(address):
                    self.ipam.hold(uid, address)
            self._ranged()


def _variables(welcome: nodes_pb2.Welcome) -> dict[str, str]:
    if not welcome.apiHost:
        return {}
    return {"KUBERNETES_SERVICE_HOST": welcome.apiHost, "KUBERNETES_SERVICE_PORT": str(welcome.apiPort)}
