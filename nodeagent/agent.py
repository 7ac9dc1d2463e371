"""The agent put together: what it starts, in which order, and how it takes up what was there."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
from collections.abc import Callable, Iterable
from typing import Any

from nodeagent import description
from nodeagent.config import Config
from nodeagent.eviction import admission
from nodeagent.eviction.manager import EvictionManager, Surroundings
from nodeagent.images.build import leftovers, sources
from nodeagent.images.build.builds import Builds
from nodeagent.images.parts import ImageParts
from nodeagent.mirrors import Mirrors
from nodeagent.network.keeper import NetworkKeeper
from nodeagent.network.overlay import OverlayNetwork
from nodeagent.network.vxlan import mac_of
from nodeagent.nodestatus import NodeStatus
from nodeagent.pods.manager import PodManager
from nodeagent.pods.services import Services
from nodeagent.reporter import Reporter
from nodeagent.runtime import select
from nodeagent.runtime.cgroups import Cgroups
from nodeagent.runtime.native.runtime import NativeRuntime
from nodeagent.runtime.seam import Handle
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
from pinnace import memory, podresources
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import Clock, RandomIds

log = logging.getLogger("pinnace.agent")
# Seconds between looks for a route to the control plane.
RETRY = 1.0


class Agent:
    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._pods = PodManager(config.state_dir / "assignment")
        self._overlay = OverlayNetwork()
        self._network = NetworkKeeper(
            self._overlay, config.state_dir / "welcome.pb", node=config.node,
            peers=lambda: list(self._pods.peers.values()), addresses=self._pods.addresses, ranged=self._pods.nudge,
        )  # fmt: skip

    async def run(self) -> None:
        """Serve until cancelled. Containers go on when the agent ends."""
        config = self._config
        self._network.address = config.address or await self._find_address()
        native = NativeRuntime(config.state_dir, self._clock)
        runtimes = select.configured(native, config.oci_runtimes, config.state_dir)
        images = ImageParts.of(config, self._pods, self._clock)
        reporter = Reporter(self._clock)
        node = description.describe(config.node, self._network.address, config.state_dir, config.resources)
        description.add_handlers(node, runtimes.handlers)
        status = NodeStatus(node, reporter.node, config.status_every)
        services = self._services(native, runtimes, images, reporter=reporter, node=node)
        eviction = self._eviction(services, images, event=status.event(reporter.event), status=status)
        await self._network.restore()
        # Warm: the first pod does not wait for a Python to start.
        warm = asyncio.ensure_future(native.warm())
        files = self._take_up(services, reporter, status)
        session = Session(config.server, config.state_dir / "pki", self._clock)
        builds = self._builds(services, images)
        streams = self._streams(services, native, images, builds)
        hello = functools.partial(_hello, status, mac_of(config.node))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(reporter.run(session.report))
                group.create_task(status.run())
                group.create_task(eviction.run())
                group.create_task(Mirrors(files, self._pods, session.show, self._clock).run())
                group.create_task(self._network.run())
                group.create_task(images.gc.run())
                group.create_task(memory.keep_trim(self._clock))
                group.create_task(builds.clean())
                group.create_task(session.run(hello, self._network.welcomed, self._pods.apply, streams))
        finally:
            warm.cancel()
            await self._pods.close()
            images.puller.close()
            await native.close()
            await self._overlay.close()

    def _take_up(self, services: Services, reporter: Reporter, status: NodeStatus) -> StaticPods | None:
        """Begin with what is on disk: static pods, and those of the last assignment."""
        config = self._config
        self._pods.statics.sink = reporter.event
        files = StaticPods(config.manifests, config.node, status.event(reporter.event)) if config.manifests else None
        if files is not None:
            files.read()
        self._pods.start(services, self._network.peers_changed, files.pods() if files else ())
        return files

    def _streams(self, services: Services, native: NativeRuntime, images: ImageParts, builds: Builds) -> Streams:
        pods, capacity = self._pods, self._config.resources.capacity
        collector = Collector(pods, services.cgroups, self._clock, node=self._config.node, capacity=capacity)
        return Streams(
            ImageStreams(images.store, images.puller, images.gc, arrived=pods.nudge, users=images.usage.users).handlers()
            | BuildStreams(builds, images.store, pods.nudge).handlers()
            | ProcessStreams(pods, native).handlers()
            | AttachStreams(pods, native).handlers()
            | PortStreams(pods).handlers()
            | LogStreams(pods, self._clock).handlers()
            | StatStreams(collector).handlers()
        )

    async def _find_address(self) -> str:
        while True:
            try:
                return description.address_towards(self._config.server)
            except OSError as error:
                log.warning("no_route server=%s error=%s", self._config.server, error)
                await self._clock.sleep(RETRY)

    def _eviction(
        self, services: Services, images: ImageParts, *, event: Callable[[str, str, bool], None], status: NodeStatus
    ) -> EvictionManager:
        config = self._config
        eviction = EvictionManager(
            config.eviction,
            Surroundings(
                pods=lambda: list(self._pods.workers.values()), cgroups=services.cgroups, clock=self._clock,
                state=config.state_dir, images=config.state_dir / "images", capacity=config.resources.capacity,
                event=event, changed=status.changed, reclaim=images.gc.free, image_bytes=images.store.total_bytes,
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
        self, native: NativeRuntime, runtimes: select.Runtimes, images: ImageParts, *, reporter: Reporter, node: Any,
    ) -> Services:  # fmt: skip
        state = self._config.state_dir
        facts = {f"allocatable.{key}": value.string for key, value in node.status.allocatable.items()}
        machine = description.machine(state)
        memory = self._config.resources.capacity_of(machine)[podresources.MEMORY]
        facts |= {"hostname": socket.gethostname(), "capacity.memory": str(memory)}
        cgroups = Cgroups(self._config.cgroup, node=self._config.resources.node_limits(machine))
        return Services(
            runtimes=runtimes, execute=functools.partial(_execute, native), network=self._overlay,
            images=images.store, puller=images.puller, cgroups=cgroups, clock=self._clock, policy=self._config.policy,
            state=state, logs=state / "logs", host_ip=self._network.address, node_facts=facts, dns=self._config.dns,
            rotation=self._config.rotation, ipam=lambda: self._network.ipam, lookup=self._pods.lookup,
            event=self._pods.statics.event, report=reporter.pod, pod_max_pids=self._config.resources.pod_max_pids,
        )  # fmt: skip

    def _builds(self, services: Services, images: ImageParts) -> Builds:
        node = leftovers.Node(
            runtime=services.runtimes.of(select.NATIVE), network=services.network, cgroups=services.cgroups,
            clock=services.clock, ipam=services.ipam, seccomp_folder=services.state / "seccomp", dns=services.dns,
        )  # fmt: skip
        find = functools.partial(sources.fetched, services.puller)
        return Builds(services.state, node, images=images.store, cache=images.cache, find=find, ids=RandomIds())


async def _execute(runtime: NativeRuntime, handle: Handle, command: list[str], within: float) -> tuple[int, str]:
    done = await run_in(runtime, handle, tuple(command), timeout=within)
    if done.timed_out:
        raise TimeoutError
    return done.code, done.output


def _hello(status: NodeStatus, mac: str) -> nodes_pb2.Hello:
    return nodes_pb2.Hello(node=status.current(), vtepMac=mac)
