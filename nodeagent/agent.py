"""The agent put together: what it starts, in which order, and how it takes up what was there."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodeagent import description
from nodeagent.eviction import admission, thresholds
from nodeagent.eviction.manager import EvictionManager, Surroundings
from nodeagent.images.build import leftovers, sources
from nodeagent.images.build.builds import Builds
from nodeagent.images.build.cache import BuildCache
from nodeagent.images.gc import GcPolicy, ImageGc
from nodeagent.images.puller import Puller
from nodeagent.images.registry.config import Registries
from nodeagent.images.store import ImageStore
from nodeagent.mirrors import Mirrors
from nodeagent.network.ipam import Ipam
from nodeagent.network.overlay import OverlayNetwork
from nodeagent.network.seam import NetworkError, Node
from nodeagent.network.vxlan import mac_of
from nodeagent.nodestatus import NodeStatus
from nodeagent.pods.imageusage import ImageUsage
from nodeagent.pods.manager import PodManager
from nodeagent.pods.model import Policy
from nodeagent.pods.resolver import ClusterDns
from nodeagent.pods.services import Services
from nodeagent.reporter import Reporter
from nodeagent.resources import NodeResources
from nodeagent.runtime import select
from nodeagent.runtime.cgroups import Cgroups
from nodeagent.runtime.native.runtime import NativeRuntime
from nodeagent.runtime.seam import Handle, LogRotation
from nodeagent.session import Session
from nodeagent.staticpods import StaticPods
from nodeagent.stats import Collector
from nodeagent.streams.attach import AttachStreams
from nodeagent.streams.builds import BuildStreams
from nodeagent.streams.images import ImageStreams
from nodeagent.streams.logstreams import LogStreams
from nodeagent.streams.oneshot import run_in
from nodeagent.streams.ports import PortStreams
from nodeagent.streams.processes import ProcessStreams
from nodeagent.streams.service import Streams
from nodeagent.streams.statstreams import StatStreams
from pinnace import pki, podresources
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import Clock, RandomIds

log = logging.getLogger("pinnace.agent")
# Seconds between looks at the overlay's entries, which do vanish (moby#52661).
RESYNC_NETWORK = 30.0
RETRY_NETWORK = 1.0


@dataclass(frozen=True, slots=True)
class Config:
    """`cgroup` names the agent's part of every hierarchy; `address` is the underlay's, empty: found."""

    state_dir: Path
    node: str
    server: str
    cgroup: str = "pinnace"
    address: str = ""
    policy: Policy = field(default_factory=Policy)
    registries: Registries = field(default_factory=Registries)
    image_gc: GcPolicy = field(default_factory=GcPolicy)
    resources: NodeResources = field(default_factory=NodeResources)
    eviction: thresholds.Config = field(default_factory=thresholds.Config)
    # Where static pods are; None: there are none.
    manifests: Path | None = None
    # Seconds between reports of a node status that does not change.
    status_every: float = 300.0
    rotation: LogRotation = field(default_factory=LogRotation)
    dns: ClusterDns = field(default_factory=ClusterDns)
    # OCI runtimes' programs by handler.
    oci_runtimes: dict[str, Path] = field(default_factory=dict)


class Agent:
    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._ipam: Ipam | None = None
        self._network = OverlayNetwork()
        # What the network could not be set up for; tried again until it can.
        self._unset: nodes_pb2.Welcome | None = None
        self._resync = asyncio.Event()
        self._pods = PodManager(config.state_dir / "assignment")
        self._address = config.address

    async def run(self) -> None:
        """Serve until cancelled. Containers go on when the agent ends."""
        config = self._config
        self._address = self._address or await self._find_address()
        runtime = NativeRuntime(config.state_dir, self._clock)
        cache = BuildCache(config.state_dir / "images/build-cache")
        images = ImageStore(config.state_dir / "images", self._clock, also=cache.layers)
        puller = Puller(images, config.registries, self._clock)
        usage = ImageUsage(self._pods, images, config.state_dir / "pods")
        gc = ImageGc(images, puller.blobs, self._clock, policy=config.image_gc, in_use=usage.ids, forget_cache=cache.clear)
        reporter = Reporter(self._clock)
        node = description.describe(config.node, self._address, config.state_dir, config.resources)
        runtimes = select.configured(runtime, config.oci_runtimes, config.state_dir)
        description.add_handlers(node, runtimes.handlers)
        status = NodeStatus(node, reporter.node, config.status_every)
        services = self._services(runtime, runtimes, images, puller, reporter=reporter, node=node)
        eviction = self._eviction(services, reporter, status, gc, images)
        await self._restore_network()
        # Warm: the first pod does not wait for a Python to start.
        warm = asyncio.ensure_future(runtime.warm())
        self._pods.statics.sink = reporter.event
        files = StaticPods(config.manifests, config.node, status.event(reporter.event)) if config.manifests else None
        if files is not None:
            files.read()
        self._pods.start(services, self._resync.set, files.pods() if files else ())
        builds = self._builds(services, cache)
        streams = Streams(
            ImageStreams(images, puller, gc, arrived=self._pods.nudge, users=usage.users).handlers()
            | BuildStreams(builds, images, self._pods.nudge).handlers()
            | ProcessStreams(self._pods, runtime).handlers()
            | AttachStreams(self._pods, runtime).handlers()
            | PortStreams(self._pods).handlers()
            | LogStreams(self._pods, self._clock).handlers()
            | StatStreams(self._collector(services)).handlers()
        )
        session = Session(config.server, config.state_dir / "pki", self._clock)
        mac = mac_of(config.node)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(reporter.run(session.report))
                group.create_task(status.run())
                group.create_task(eviction.run())
                group.create_task(Mirrors(files, self._pods, session.show, self._clock).run())
                group.create_task(self._keep_network())
                group.create_task(gc.run())
                group.create_task(builds.clean())
                hello = functools.partial(_hello, status, mac)
                group.create_task(session.run(hello, self._welcomed, self._pods.apply, streams))
        finally:
            warm.cancel()
            await self._pods.close()
            puller.close()
            await runtime.close()
            await self._network.close()

    async def _find_address(self) -> str:
        while True:
            try:
                return description.address_towards(self._config.server)
            except OSError as error:
                log.warning("no_route server=%s error=%s", self._config.server, error)
                await self._clock.sleep(RETRY_NETWORK)

    def _collector(self, services: Services) -> Collector:
        config = self._config
        return Collector(self._pods, services.cgroups, self._clock, node=config.node, capacity=config.resources.capacity)

    def _eviction(
        self, services: Services, reporter: Reporter, status: NodeStatus, gc: ImageGc, images: ImageStore
    ) -> EvictionManager:
        config = self._config
        eviction = EvictionManager(
            config.eviction,
            Surroundings(
                pods=lambda: list(self._pods.workers.values()), cgroups=services.cgroups, clock=self._clock,
                state=config.state_dir, images=config.state_dir / "images", capacity=config.resources.capacity,
                event=status.event(reporter.event), changed=status.changed, reclaim=gc.free, image_bytes=images.total_bytes,
            ),
        )  # fmt: skip
        status.add(lambda found: found.conditions.extend(eviction.conditions()))
        allocatable = config.resources.allocatable(description.machine(config.state_dir))
        allocatable[admission.PODS] = config.resources.max_pods
        labels = dict(status.current().metadata.labels)

        def refuse(pod: Any, others: Iterable[Any]) -> admission.Refusal | None:
            return admission.refuse(pod, others, allocatable=allocatable, labels=labels, pressure=eviction.pressure)

        self._pods.refuse = refuse
        return eviction

    def _services(
        self, native: NativeRuntime, runtimes: select.Runtimes, images: ImageStore, puller: Puller, *,
        reporter: Reporter, node: Any,
    ) -> Services:  # fmt: skip
        state = self._config.state_dir
        facts = {f"allocatable.{key}": value.string for key, value in node.status.allocatable.items()}
        machine = description.machine(state)
        memory = self._config.resources.capacity_of(machine)[podresources.MEMORY]
        facts |= {"hostname": socket.gethostname(), "capacity.memory": str(memory)}
        cgroups = Cgroups(self._config.cgroup, node=self._config.resources.node_limits(machine))
        return Services(
            runtimes=runtimes, execute=functools.partial(_execute, native), network=self._network, images=images,
            puller=puller, cgroups=cgroups,
            clock=self._clock, policy=self._config.policy, state=state, logs=state / "logs", host_ip=self._address,
            node_facts=facts, dns=self._config.dns, rotation=self._config.rotation,
            ipam=lambda: self._ipam, lookup=self._pods.lookup,
            event=self._pods.statics.event,
            report=reporter.pod, pod_max_pids=self._config.resources.pod_max_pids,
        )  # fmt: skip

    def _builds(self, services: Services, cache: BuildCache) -> Builds:
        node = leftovers.Node(
            runtime=services.runtimes.of(select.NATIVE), network=services.network, cgroups=services.cgroups,
            clock=services.clock, ipam=services.ipam, seccomp_folder=services.state / "seccomp", dns=services.dns,
        )  # fmt: skip
        find = functools.partial(sources.fetched, services.puller)
        return Builds(services.state, node, images=services.images, cache=cache, find=find, ids=RandomIds())

    # Network

    async def _restore_network(self) -> None:
        """From what the last welcome said, so that pods are reachable before the control plane is."""
        path = self._config.state_dir / "welcome.pb"
        if path.exists():
            await self._setup_network(nodes_pb2.Welcome.FromString(path.read_bytes()))

    async def _welcomed(self, welcome: nodes_pb2.Welcome) -> None:
        pki.write_private(self._config.state_dir / "welcome.pb", welcome.SerializeToString())
        await self._setup_network(welcome)
        self._resync.set()

    async def _setup_network(self, welcome: nodes_pb2.Welcome) -> None:
        node = Node(
            pod_cidr=welcome.podCIDR, cluster_cidrs=tuple(welcome.clusterCIDRs), address=self._address,
            mac=mac_of(self._config.node), vni=welcome.vni, port=welcome.vxlanPort,
        )  # fmt: skip
        try:
            await self._network.setup(node)
        except NetworkError as error:
            log.error("network_setup_failed error=%s", error)
            self._unset = welcome
            return
        self._unset = None
        if self._ipam is None or not self._ipam.contains(str(welcome.podCIDR).partition("/")[0]):
            self._ipam = Ipam(welcome.podCIDR)
            for uid, address in self._pods.addresses():
                if self._ipam.contains(address):
                    self._ipam.hold(uid, address)
            self._pods.nudge()

    async def _keep_network(self) -> None:
        while True:
            if self._unset is not None:
                await self._setup_network(self._unset)
            try:
                wrong = await self._network.sync(list(self._pods.peers.values()))
                if wrong:
                    log.info("overlay_programmed entries=%d peers=%d", wrong, len(self._pods.peers))
                delay = RESYNC_NETWORK if self._unset is None else RETRY_NETWORK
            except NetworkError as error:
                log.error("overlay_failed error=%s", error)
                delay = RETRY_NETWORK
            try:
                await asyncio.wait_for(self._resync.wait(), delay)
            except TimeoutError:
                pass
            self._resync.clear()


async def _execute(runtime: NativeRuntime, handle: Handle, command: list[str], within: float) -> tuple[int, str]:
    done = await run_in(runtime, handle, tuple(command), timeout=within)
    if done.timed_out:
        raise TimeoutError
    return done.code, done.output


def _hello(status: NodeStatus, mac: str) -> nodes_pb2.Hello:
    return nodes_pb2.Hello(node=status.current(), vtepMac=mac)


def load_identity(state_dir: Path) -> dict[str, str]:
    """What joining left. Raises FileNotFoundError."""
    record: dict[str, str] = json.loads((state_dir / "agent.json").read_text())
    return record


def save_identity(state_dir: Path, record: dict[str, str]) -> None:
    pki.write_private(state_dir / "agent.json", json.dumps(record).encode())


def default_name() -> str:
    return os.uname().nodename.lower()
