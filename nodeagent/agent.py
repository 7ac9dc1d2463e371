"""The agent put together: what it starts, in which order, and how it takes up what was there."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nodeagent.building.deferred import DeferredBuilds
from nodeagent.control.assignment import Assignment
from nodeagent.control.credentials import Credentials
from nodeagent.control.renewal import Endpoint, Renewal
from nodeagent.control.session import Events, Session
from nodeagent.control.statusmanager import StatusManager
from nodeagent.eviction.manager import EvictionManager, Surroundings
from nodeagent.images.parts import ImageParts
from nodeagent.network.interface import NetworkError
from nodeagent.network.vxlan import mac_of
from nodeagent.networkparts import NetworkParts
from nodeagent.node import admission, description, memorydir, supervisor, threads
from nodeagent.node.announcement import Announcement
from nodeagent.node.config import Config
from nodeagent.node.pools import Pools
from nodeagent.node.stats import Collector
from nodeagent.node.status import NodeStatusReporter
from nodeagent.pods.dependencies import WorkerDependencies
from nodeagent.pods.manager import PodManager
from nodeagent.pods.spec import servicevariables
from nodeagent.probes.command import run_in
from nodeagent.probes.execslots import ExecSlots
from nodeagent.runtime import handlers
from nodeagent.runtime.cgroups import Cgroups
from nodeagent.runtime.interface import Handle
from nodeagent.runtime.nativeruntime import NativeRuntime
from nodeagent.shutdown.manager import NOT_ADMITTED, Node, ShutdownManager
from nodeagent.statics.syncer import MirrorPodSyncer
from nodeagent.streams.attach import AttachStreams
from nodeagent.streams.captures import CaptureStreams
from nodeagent.streams.images import ImageStreams
from nodeagent.streams.logstreams import LogStreams
from nodeagent.streams.netstreams import NetStreams
from nodeagent.streams.nodestreams import NodeStreams
from nodeagent.streams.ports import PortStreams
from nodeagent.streams.processes import ProcessStreams
from nodeagent.streams.service import Streams
from nodeagent.streams.statstreams import StatStreams
from nodeagent.volumes.accounttokens import Create
from nodeagent.volumes.reclaim import VolumeReclaimer
from pinnace import kinds, labclock, memory, podresources
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import Clock

if TYPE_CHECKING:
    from nodeagent.buildparts import BuildParts
    from nodeagent.statics.files import StaticPods

log = logging.getLogger("pinnace.agent")
# Seconds between looks for an address towards the control plane.
RETRY = 1.0


class Agent:
    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._pools = Pools()
        self._memory = memorydir.mount(config.state_dir / "memory")
        self._assignment = Assignment(config.state_dir / "assignment", self._memory / "secrets")
        self._pods = PodManager(self._assignment)
        self._network = NetworkParts(
            config, clock, self._memory, self._assignment, addresses=self._pods.addresses, ranged=self._pods.nudge
        )
        self._local_volumes = config.state_dir / "local-volumes"
        self._announcement = Announcement(lambda: self._network.reconciler.host_ips)

    async def run(self) -> None:
        """Serve until cancelled. Containers keep running when the agent ends."""
        config = self._config
        self._network.reconciler.host_ips = config.addresses or await self._find_addresses()
        native = NativeRuntime(config.state_dir, self._clock)
        runtimes = handlers.configured(native, config.oci_runtimes, config.state_dir, self._memory)
        images = ImageParts.of(config, self._pods, self._clock)
        reporter = StatusManager(self._clock)
        status = self._node_status(runtimes, reporter)
        credentials = Credentials(config.state_dir / "pki")
        session = Session(config.server, credentials, self._clock)
        self._network.announcer.connected = lambda: session.complete
        self._pods.static_namespaces.changed = session.beat
        self._pods.static_namespaces.session = lambda: session.complete
        deps = self._dependencies(
            native, runtimes, images, reporter=reporter, node=status.current(), create_token=session.create_token
        )
        event = self._network.policies.event = status.event(reporter.event)
        self._network.reconciler.moved = functools.partial(self._moved, session=session, event=event)
        shutdown = self._shutdown(event, status)
        eviction = self._eviction(deps, images, event=event, status=status, shutdown=shutdown)
        self._assignment.restore()
        await self._network.restore()
        # Warm: the first pod does not wait for a Python to start.
        warm = asyncio.ensure_future(native.warm())
        files = self._take_up(deps, reporter, status)
        reclaimer = self._reclaimer(reporter)
        assigned = functools.partial(self._assigned, reclaimer=reclaimer)
        renewal = self._renewal(credentials, session)
        builds = self._builds(deps, images)
        streams = self._streams(deps, native, images, builds)
        events, report = self._events(status, assigned, streams), functools.partial(self._report, session)
        try:
            async with asyncio.TaskGroup() as group:
                mirrors = MirrorPodSyncer(files, self._pods, session.show, self._clock)
                for name, part in (
                    ("reports", lambda: reporter.run(report)), ("node status", status.run), ("eviction", eviction.run),
                    ("mirror pods", mirrors.run), *self._network.running(), ("image gc", images.gc.run),
                    ("memory", lambda: memory.keep_trim(self._clock)), ("builds", builds.run),
                    ("session", lambda: session.run(events)), ("certificate", renewal.run),
                    *((("shutdown", shutdown.run),) if config.shutdown else ()),
                ):  # fmt: skip
                    group.create_task(supervisor.keep(name, part, self._clock))
        finally:
            warm.cancel()
            reclaimer.close()
            await self._close(images, native)

    async def _close(self, images: ImageParts, native: NativeRuntime) -> None:
        """Pods first: their workers use all the rest."""
        await self._pods.close()
        images.puller.close()
        images.store.close()
        await native.close()
        await self._network.close()
        await threads.control.run(self._assignment.close)

    def _events(self, status: NodeStatusReporter, assigned: Callable[[nodes_pb2.Assignment], None], streams: Streams) -> Events:
        """Of the session."""
        hello = functools.partial(
            _hello, status, mac_of(self._config.node), str(self._local_volumes), self._network.public_key(),
            static_namespaces=self._static_namespaces,
        )  # fmt: skip
        greet = functools.partial(self._announcement.greet, hello)
        follow = functools.partial(labclock.follow, self._clock)
        return Events(greet, self._welcomed, assigned, streams, self._pods.applied, follow, self._static_namespaces)

    def _static_namespaces(self) -> Sequence[str]:
        return self._pods.static_namespaces.named

    async def _report(self, session: Session, request: nodes_pb2.ReportStatusRequest) -> None:
        await self._announcement.report(lambda: session.report(request))

    def _renewal(self, credentials: Credentials, session: Session) -> Renewal:
        joined = Endpoint(self._config.node, self._config.join)
        return Renewal(credentials, joined, labclock.machine(self._clock), ask=session.renew, renewed=session.reconnect)

    def _node_status(self, runtimes: handlers.Runtimes, reporter: StatusManager) -> NodeStatusReporter:
        config, network = self._config, self._network.reconciler
        node = description.describe(config.node, (), config.state_dir, config.resources)
        description.add_handlers(node, runtimes.handlers)
        status = NodeStatusReporter(node, reporter.node, every=config.status_every, clock=self._clock)
        status.add(lambda found: description.set_addresses(found, config.node, network.host_ips))
        status.add(lambda found: found.conditions.extend(network.conditions()))
        network.condition_changed = status.changed
        return status

    async def _welcomed(self, welcome: nodes_pb2.Welcome) -> None:
        await self._network.reconciler.welcomed(welcome)
        self._pods.connected()
        if self._announcement.welcomed():
            self._pods.nudge()

    def _take_up(self, deps: WorkerDependencies, reporter: StatusManager, status: NodeStatusReporter) -> StaticPods | None:
        """Begin with what is on disk: static pods, and those of the last assignment."""
        config = self._config
        self._pods.statics.sink = reporter.event
        files: StaticPods | None = None
        if config.manifests:
            # Here: reading and admitting manifests takes megabytes that an agent without static pods does not need.
            from nodeagent.statics.files import StaticPods

            files = StaticPods(config.manifests, config.node, status.event(reporter.event))
        if files is not None:
            files.read()
        self._network.restore_policies()
        self._pods.start(deps, files.pods() if files else ())
        return files

    def _reclaimer(self, reporter: StatusManager) -> VolumeReclaimer:
        reclaimer = VolumeReclaimer(
            self._local_volumes, self._config.node, self._pools.deletions, self._clock, used=self._pods.uses,
            report=reporter.volume,
        )  # fmt: skip
        self._assignment.subscribe((kinds.PERSISTENT_VOLUME.kind,), reclaimer.changed)
        return reclaimer

    def _assigned(self, message: nodes_pb2.Assignment, reclaimer: VolumeReclaimer) -> None:
        self._assignment.apply(message)
        for change in message.changes:
            kind, namespace, name = change.key.split("/", 2)
            item = self._assignment.lookup(kind, namespace, name) if kind == kinds.PERSISTENT_VOLUME.kind else None
            if item is not None:
                reclaimer.assigned(item)

    def _streams(self, deps: WorkerDependencies, native: NativeRuntime, images: ImageParts, builds: DeferredBuilds) -> Streams:
        pods, network, capacity = self._pods, self._network, self._config.resources.capacity
        collector = Collector(
            pods, deps.cgroups, labclock.steady(self._clock), self._pools.walks, node=self._config.node, capacity=capacity
        )
        return Streams(
            ImageStreams(images.store, images.puller, images.gc, arrived=pods.nudge, users=images.usage.users).handlers()
            | builds.handlers()
            | ProcessStreams(pods, native).handlers()
            | AttachStreams(pods, native).handlers()
            | PortStreams(pods).handlers()
            | LogStreams(pods, self._clock).handlers()
            | StatStreams(collector).handlers()
            | NodeStreams(pods, self._network.names.metrics).handlers()
            | CaptureStreams(pods, labclock.steady(self._clock)).handlers()
            | NetStreams(
                network.overlay,
                network.reconciler.repairs,
                pods,
                network.policies,
                repair=network.reconciler.repair,
                packets=network.overlay.fast_path.packets,
                problem=network.reconciler.unavailable,
            ).handlers()
        )

    async def _find_addresses(self) -> tuple[str, ...]:
        while True:
            try:
                return await self._network.node_addresses.find()
            except NetworkError as error:
                log.warning("no_address error=%s", error)
                await self._clock.sleep(RETRY)

    def _moved(self, before: Sequence[str], session: Session, event: Callable[[str, str, bool], None]) -> None:
        """The node has other addresses. The connection to the control plane is from an address that is gone: a new one, whose
        hello has the new addresses, need not wait for that to be noticed. Pods report them once it is answered."""
        event("NodeAddressChanged", f"{','.join(before)} -> {','.join(self._network.reconciler.host_ips)}", False)
        session.reconnect()

    def _shutdown(self, event: Callable[[str, str, bool], None], status: NodeStatusReporter) -> ShutdownManager:
        node = Node(lambda: list(self._pods.workers.values()), event, status.changed, labclock.steady(self._clock))
        found = ShutdownManager(self._config.shutdown, node)
        status.add(found.condition)
        return found

    def _eviction(
        self,
        deps: WorkerDependencies,
        images: ImageParts,
        *,
        event: Callable[[str, str, bool], None],
        status: NodeStatusReporter,
        shutdown: ShutdownManager,
    ) -> EvictionManager:
        config = self._config
        eviction = EvictionManager(
            config.eviction,
            Surroundings(
                pods=lambda: list(self._pods.workers.values()), cgroups=deps.cgroups, clock=labclock.steady(self._clock),
                state=config.state_dir, images=config.state_dir / "images", capacity=config.resources.measured(),
                event=event, changed=status.changed, reclaim=images.gc.free, image_bytes=images.store.total_bytes,
                walks=self._pools.walks,
            ),
        )  # fmt: skip
        status.add(lambda found: found.conditions.extend(eviction.conditions()))
        allocatable = config.resources.allocatable(description.machine(config.state_dir))
        allocatable[admission.PODS] = config.resources.max_pods
        monitors = config.resources.monitors(description.machine(config.state_dir))
        labels = dict(status.current().metadata.labels)

        def admit(pod: Any, others: Iterable[Any]) -> admission.Refusal | None:
            if shutdown.shutting_down:
                return admission.Refusal(*NOT_ADMITTED)
            return admission.admit(
                pod, others, allocatable=allocatable, name=config.node, labels=labels, pressure=eviction.pressure,
                monitors=monitors,
            )  # fmt: skip

        self._pods.admit = admit
        self._pods.admit_resize = functools.partial(admission.admit_resize, allocatable=allocatable)
        return eviction

    def _dependencies(
        self, native: NativeRuntime, runtimes: handlers.Runtimes, images: ImageParts, *, reporter: StatusManager, node: Any,
        create_token: Create,
    ) -> WorkerDependencies:  # fmt: skip
        state = self._config.state_dir
        facts = {f"allocatable.{key}": value.string for key, value in node.status.allocatable.items()}
        machine = description.machine(state)
        memory = self._config.resources.capacity_of(machine)[podresources.MEMORY]
        facts |= {"hostname": socket.gethostname(), "capacity.memory": str(memory)}
        cgroups = Cgroups(self._config.cgroup, node=self._config.resources.node_limits(machine))
        return WorkerDependencies(
            runtimes=runtimes, execute=functools.partial(_execute, native), network=self._network.overlay,
            isolation=self._network.policies, serving=self._network.serving.wait,
            images=images.store, puller=images.puller, cgroups=cgroups, clock=self._clock, pools=self._pools,
            exec_slots=ExecSlots(), policy=self._config.policy,
            state=state, memory=self._memory, logs=state / "logs", host_ips=self._announcement.host_ips,
            node_facts=facts, local_volumes=self._local_volumes,
            dns=self._network.names.cluster_dns, rotation=self._config.rotation, ipam=lambda: self._network.reconciler.ipam,
            lookup=self._assignment.lookup, services=self._service_variables, create_token=create_token,
            event=self._pods.statics.event, report=reporter.pod, pod_max_pids=self._config.resources.pod_max_pids,
        )  # fmt: skip

    def _service_variables(self, pod: Any) -> Mapping[str, str]:
        """Of the API its Service, as in Kubernetes; without that Service the address that the control plane advertises."""
        items = self._assignment.items(kinds.SERVICE.kind)
        found = servicevariables.variables(items, pod.metadata.namespace, links=pod.spec.enableServiceLinks)
        return {**self._network.reconciler.services(), **found}

    def _builds(self, deps: WorkerDependencies, images: ImageParts) -> DeferredBuilds:
        def load() -> Callable[[], BuildParts]:
            from nodeagent.buildparts import BuildParts

            return lambda: BuildParts(self._config, deps, images, self._pods.nudge)

        files = (deps.state / "builds", images.cache.directory / "images")
        return DeferredBuilds(load, files, images.mounts, labclock.steady(deps.clock))


async def _execute(runtime: NativeRuntime, handle: Handle, command: list[str], within: float) -> tuple[int, str]:
    done = await run_in(runtime, handle, tuple(command), timeout=within)
    if done.timed_out:
        raise TimeoutError
    return done.code, done.output


def _hello(
    status: NodeStatusReporter, mac: str, local_volumes: str, key: str, *, static_namespaces: Callable[[], Sequence[str]]
) -> nodes_pb2.Hello:  # fmt: skip
    return nodes_pb2.Hello(
        node=status.current(), vtepMac=mac, localPath=local_volumes, wireguardKey=key, staticNamespaces=static_namespaces()
    )
