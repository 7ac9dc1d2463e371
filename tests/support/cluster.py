"""A control plane without a wire: store, scheduler and controllers over memory, on virtual time.

Tests create objects through the verbs of the API, act as agents through the dispatcher's reports, and move the clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from controlplane import bootstrap, resources
from controlplane.controllers.addresspool import AddressPool
from controlplane.controllers.clusterroleaggregation import ClusterRoleAggregation
from controlplane.controllers.cronjob import CronJobs
from controlplane.controllers.customresources import CustomResources
from controlplane.controllers.daemonset import DaemonSets
from controlplane.controllers.deployment import Deployments
from controlplane.controllers.disruption import EvictionRates
from controlplane.controllers.endpoints import EndpointsController
from controlplane.controllers.endpointslice import EndpointSlices
from controlplane.controllers.endpointslicemirroring import EndpointSliceMirroring
from controlplane.controllers.ephemeralvolume import EphemeralVolumes
from controlplane.controllers.eventttl import EventTTL
from controlplane.controllers.garbage import Garbage
from controlplane.controllers.horizontalpodautoscaler import HorizontalPodAutoscalers
from controlplane.controllers.job import Jobs
from controlplane.controllers.kubernetesservice import KubernetesService
from controlplane.controllers.localpath import LocalPathProvisioner
from controlplane.controllers.namespaces import Namespaces
from controlplane.controllers.nodelifecycle import NodeLifecycle
from controlplane.controllers.poddisruptionbudget import PodDisruptionBudgets
from controlplane.controllers.podgc import PodGC
from controlplane.controllers.replicaset import ReplicaSets
from controlplane.controllers.replicationcontroller import ReplicationControllers
from controlplane.controllers.resourcequota import ResourceQuotas
from controlplane.controllers.runner import Controller, ControllerManager
from controlplane.controllers.serviceaccounts import ServiceAccounts
from controlplane.controllers.servicelbpool import ServiceLoadBalancers
from controlplane.controllers.serviceranges import ServiceRangeChecks
from controlplane.controllers.statefulset import StatefulSets
from controlplane.controllers.tainteviction import TaintEviction
from controlplane.controllers.ttlafterfinished import TTLAfterFinished
from controlplane.controllers.volumebinder import PersistentVolumeBinder
from controlplane.controllers.volumeexpansion import PersistentVolumeExpander
from controlplane.controllers.volumeprotection import ClaimProtection, VolumeProtection
from controlplane.dispatcher import reports
from controlplane.dispatcher.podcidrs import PodCIDRs
from controlplane.dispatcher.router import Router
from controlplane.election import Elector
from controlplane.labtime import LabTime
from controlplane.podranges import Range
from controlplane.podusage import PodUsage
from controlplane.requests import verbs
from controlplane.resources import Registry
from controlplane.resources.serviceallocator import ServiceAllocator
from controlplane.rpc.objects import Objects
from controlplane.scheduler.service import Attempted, Scheduler
from controlplane.serviceranges import ServiceRanges, pool_range
from controlplane.store import Backend, Store, Tx
from controlplane.store.memory import MemoryBackend
from controlplane.usagecollector import UsageCollector
from pinnace import codec, kinds, labclock
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import Clock, RandomIds, VirtualClock, settle
from pinnace.errors import NotFound
from pinnace.kinds import Kind
from tests.support import objects
from tests.support.load import Load

# Seconds without a heartbeat until a node is NotReady.
GRACE = 15.0
HEARTBEAT = 4.0
# Seconds between two measurements of autoscaled pods.
SAMPLING = 5.0
# Where pods reach the API.
API_ADDRESS = ("192.0.2.10", 6444)
# Turns of the event loop in which a chain of reconciliations comes to rest.
TURNS = 100
_KINDS = {kind.kind: kind for kind in kinds.ALL}


class Cluster:
    def __init__(self, store: Store, clock: VirtualClock, time: Clock, ids: RandomIds | None = None) -> None:
        """`clock` is the machine's, `time` that of the control plane."""
        self.store = store
        self.clock = clock
        self.time = time
        self.ids = ids or RandomIds(seed=1)
        self.elector = Elector(store, labclock.steady(time), "this")
        # Is told of the scheduler's attempts.
        self.attempted: Attempted = lambda decision, number: None
        self.scheduler = Scheduler(self.elector.store, time, attempted=lambda *told: self.attempted(*told))
        self.labtime = LabTime(time, self._tell)
        self.cidrs = PodCIDRs(Range("10.244.0.0/16", 24))
        self.router = Router(store, self.cidrs)
        self.api = Objects(store, time, self.ids)
        # What pods use, as their nodes measure it.
        self.load = Load(store, clock)
        # Nodes whose agents beat by themselves.
        self.alive: set[str] = set()
        # Those that run now.
        self.controllers: Sequence[Controller] = ()

    def call(self, manager: str = "test") -> verbs.Call:
        return verbs.Call(self.time.now(), self.ids, manager)

    # What users do

    async def create(self, message: Any) -> Any:
        kind = _KINDS[message.DESCRIPTOR.name]
        return await self._done(lambda tx: verbs.create(tx, kind, _copy(message), self.call()))

    async def change(self, kind: Kind, name: str, change: Callable[[Any], Any], *, namespace: str = "default") -> Any:
        """Update an object by a function that edits it."""

        def fn(tx: Tx) -> Any:
            message = tx.require(kind, namespace if kind.namespaced else "", name)
            change(message)
            return verbs.update(tx, kind, message, self.call())

        return await self._done(fn)

    async def delete(self, kind: Kind, name: str, *, namespace: str = "default", **how: Any) -> bool:
        """Returns whether the object was gone at once."""
        where = namespace if kind.namespaced else ""
        _, gone = await self._done(lambda tx: verbs.delete(tx, kind, where, name, self.call(), **how))
        return bool(gone)

    def get(self, kind: Kind, name: str, *, namespace: str = "default") -> Any | None:
        try:
            return self.store.get(kind, namespace if kind.namespaced else "", name)
        except NotFound:
            return None

    def names(self, kind: Kind, *, namespace: str = "") -> list[str]:
        return sorted(row.parse().metadata.name for row in self.store.rows(kind, namespace))

    def events(self, reason: str) -> list[Any]:
        every = [row.parse() for row in self.store.rows(kinds.EVENT)]
        return [event for event in every if event.reason == reason]

    # What agents do

    async def join(self, name: str, **node: Any) -> Any:
        """An agent's first session."""
        hello = nodes_pb2.Hello(node=objects.node(name, **node), vtepMac="0a:00:00:00:00:01")

        def fn(tx: Tx) -> Any:
            reports.ensure(tx, name, cidrs=self.cidrs, ids=self.ids, now=self.time.now())
            made = reports.register(tx, name, hello, now=self.time.now())
            reports.renew(tx, [name], now=self.time.now(), seconds=GRACE)
            return made

        return await self._done(fn)

    async def beat(self, *names: str) -> None:
        """A heartbeat of these nodes."""
        await self._done(lambda tx: self._heard(tx, names))

    async def keep_beating(self) -> None:
        """The agents of `alive`, as the dispatcher hears them."""
        while True:
            await self.clock.sleep(HEARTBEAT)
            if self.alive:
                await self.store.update(lambda tx: self._heard(tx, sorted(self.alive)))

    def _heard(self, tx: Tx, names: Iterable[str]) -> None:
        reports.renew(tx, names, now=self.time.now(), seconds=GRACE)
        for name in names:
            reports.recover(tx, name, now=self.time.now())

    async def report(self, node: str, pod: Any, *, phase: str = "Running", removed: bool = False, **status: Any) -> None:
        """What the agent of `node` says of a pod that is ready while it runs; `status` are further fields, as JSON."""
        ready = {"type": "Ready", "status": "True" if phase == "Running" else "False"}
        conditions = [*status.pop("conditions", []), ready]
        await self.state(node, pod, removed=removed, phase=phase, conditions=conditions, **status)

    async def state(self, node: str, pod: Any, *, removed: bool = False, **status: Any) -> None:
        """What the agent of `node` says of a pod: its whole status, as JSON."""
        request = nodes_pb2.ReportStatusRequest()
        item = request.pods.add(namespace=pod.metadata.namespace, name=pod.metadata.name, uid=pod.metadata.uid, removed=removed)
        item.status.CopyFrom(codec.decode(type(item.status), status))
        await self._done(lambda tx: reports.report(tx, node, request, now=self.time.now()))

    # Time

    async def _tell(self) -> list[str]:
        """After an advance of the clock, as the dispatcher does."""
        if self.alive:
            await self.store.update(lambda tx: self._heard(tx, sorted(self.alive)))
        return []

    async def advance(self, seconds: float, *, beating: tuple[str, ...] = ()) -> None:
        """Move time on in small steps, so that what comes due acts at its time; `beating` nodes stay alive."""
        steps = max(20, int(seconds / 5)) if beating else 20
        for _ in range(steps):
            await self.clock.advance(seconds / steps)
            if beating:
                await self.beat(*beating)
            await settle(TURNS)

    async def _done(self, fn: Callable[[Tx], Any]) -> Any:
        result = await self.store.update(fn)
        await settle(TURNS)
        return result


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _ranges(store: Store) -> ServiceRanges:
    return next(plugin.ranges for plugin in Registry.of(store).plugins if isinstance(plugin, ServiceAllocator))


@asynccontextmanager
async def running(
    *,
    backend: Backend | None = None,
    clock: VirtualClock | None = None,
    registry: Registry | None = None,
    rates: EvictionRates | None = None,
    podgc: PodGC | None = None,
    lab_clock: Path | None = None,
    ids: RandomIds | None = None,
    pool: Sequence[str] = (),
    api: bool = False,
) -> AsyncIterator[Cluster]:
    """A control plane with every controller; with the file of a lab's clock `labtime` advances its time. An error in any part of
    it fails the test. `ids`: those of the plane that was there before, on the same backend. `pool`: addresses of the load
    balancer. `api`: with the Services of the API and of DNS."""
    clock = clock or VirtualClock()
    time = labclock.opened(clock, lab_clock)
    store = await Store.open(backend or MemoryBackend(), time, registry or resources.built_in())
    cluster = Cluster(store, clock, time, ids)

    def manager(controllers: Sequence[Controller]) -> ControllerManager:
        return ControllerManager(cluster.elector.store, time, controllers, unasked=cluster.labtime.unasked)

    async def work() -> None:
        usage = PodUsage()
        controllers = (
            NodeLifecycle(GRACE, rates),
            TaintEviction(),
            Namespaces(),
            Garbage(),
            podgc or PodGC(),
            EventTTL(),
            ResourceQuotas(),
            CustomResources(),
            ClusterRoleAggregation(),
            ServiceAccounts(),
            ReplicaSets(cluster.ids),
            ReplicationControllers(cluster.ids),
            Deployments(cluster.ids),
            DaemonSets(cluster.ids),
            StatefulSets(cluster.ids),
            Jobs(cluster.ids),
            CronJobs(cluster.ids),
            TTLAfterFinished(),
            PodDisruptionBudgets(cluster.ids),
            HorizontalPodAutoscalers(usage, ids=cluster.ids),
            PersistentVolumeBinder(),
            PersistentVolumeExpander(),
            ClaimProtection(),
            VolumeProtection(),
            EphemeralVolumes(cluster.ids),
            LocalPathProvisioner(),
            EndpointSlices(cluster.ids),
            EndpointsController(cluster.ids),
            EndpointSliceMirroring(cluster.ids),
            ServiceLoadBalancers(AddressPool(map(pool_range, pool)), cluster.ids),
            ServiceRangeChecks(_ranges(store)),
            *([KubernetesService(API_ADDRESS, api="10.96.0.1", dns="10.96.0.10", ids=cluster.ids)] if api else ()),
        )
        cluster.controllers = controllers
        async with asyncio.TaskGroup() as group:
            group.create_task(manager(controllers).run())
            group.create_task(cluster.scheduler.run())
            collector = UsageCollector(cluster.elector.store, cluster.load, usage, clock, period=SAMPLING)
            group.create_task(collector.run())

    routing = asyncio.ensure_future(cluster.router.run(store, time))
    serving = asyncio.ensure_future(store.serve())
    await store.update(lambda tx: bootstrap.objects(tx, cluster.call("bootstrap")))
    leading = asyncio.ensure_future(cluster.elector.lead(work))
    beating = asyncio.ensure_future(cluster.keep_beating())
    ends = []
    await settle(TURNS)
    try:
        yield cluster
    finally:
        # In this order: the lease is released through the store.
        for task in (beating, leading, routing, serving):
            task.cancel()
            ends += await asyncio.gather(task, return_exceptions=True)
        await store.close()
    for end in ends:
        if not isinstance(end, asyncio.CancelledError):
            raise AssertionError("a part of the control plane ended by itself") from end
