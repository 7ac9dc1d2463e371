"""The leader's work: controllers and the scheduler, which run in one control plane at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from controlplane.config import Config
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
from controlplane.controllers.horizontalscaling import Settings as AutoscalerSettings
from controlplane.controllers.job import Jobs
from controlplane.controllers.kubernetesservice import KubernetesService
from controlplane.controllers.localpath import LocalPathProvisioner
from controlplane.controllers.namespaces import Namespaces
from controlplane.controllers.nodelifecycle import NodeLifecycle
from controlplane.controllers.poddisruptionbudget import PodDisruptionBudgets
from controlplane.controllers.podgc import PodGC
from controlplane.controllers.replicacalculator import Startup
from controlplane.controllers.replicaset import ReplicaSets
from controlplane.controllers.replicationcontroller import ReplicationControllers
from controlplane.controllers.resourcequota import ResourceQuotas
from controlplane.controllers.rootcapublisher import RootCAPublisher
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
from controlplane.election import Elector
from controlplane.labtime import LabTime
from controlplane.podusage import PodUsage
from controlplane.rest.statistics import Statistics
from controlplane.scheduler.deferred import DeferredScheduler
from controlplane.usagecollector import UsageCollector
from pinnace.clock import Clock


@dataclass(frozen=True, slots=True)
class Leader:
    """`ca` is the certificate of the cluster in PEM; `api` is the IP and port of this control plane for pods, or None."""

    config: Config
    clock: Clock
    elector: Elector
    scheduler: DeferredScheduler
    statistics: Statistics
    time: LabTime
    ca: bytes
    api: tuple[str, int] | None

    async def run(self) -> None:
        """Work whenever this control plane is the leader."""
        await self.elector.lead(self._work)

    async def _work(self) -> None:
        # Made anew each time: observations of a former leader are out of date.
        usage = PodUsage()
        store, every = self.elector.store, controllers(self.config, self.ca, usage, api=self.api)
        manager = ControllerManager(store, self.clock, every, unasked=self.time.unasked)
        async with asyncio.TaskGroup() as group:
            group.create_task(manager.run())
            if HorizontalPodAutoscalers.name not in self.config.disabled:
                period = self.config.autoscaler_period
                group.create_task(UsageCollector(store, self.statistics, usage, self.clock, period=period).run())
            if self.config.scheduler:
                group.create_task(self.scheduler.run())


def controllers(config: Config, ca: bytes, usage: PodUsage, *, api: tuple[str, int] | None = None) -> list[Controller]:
    """All that are not disabled; `usage` has the measurements of pods."""
    c = config
    rates = EvictionRates(c.eviction_rate, c.secondary_eviction_rate, c.unhealthy_zone_threshold, c.large_zone)
    every: list[Controller] = [
        NodeLifecycle(c.lease_grace, rates), TaintEviction(), Namespaces(), Garbage(), PodGC(c.terminated_pods),
        EventTTL(c.event_ttl), ResourceQuotas(), CustomResources(), ClusterRoleAggregation(),
        ServiceAccounts(), RootCAPublisher(ca), ReplicaSets(), ReplicationControllers(), Deployments(), DaemonSets(),
        StatefulSets(), Jobs(), CronJobs(), TTLAfterFinished(),
        PodDisruptionBudgets(), HorizontalPodAutoscalers(usage, _autoscaler_settings(c)),
        PersistentVolumeBinder(), PersistentVolumeExpander(), ClaimProtection(), VolumeProtection(),
        EphemeralVolumes(), LocalPathProvisioner(),
        EndpointSlices(), EndpointsController(), EndpointSliceMirroring(),
        KubernetesService(api, api=c.services.api, dns=c.services.dns), ServiceLoadBalancers(AddressPool(c.pool)),
        ServiceRangeChecks(c.services),
    ]  # fmt: skip
    return [controller for controller in every if controller.name not in c.disabled]


def _autoscaler_settings(config: Config) -> AutoscalerSettings:
    c = config
    startup = Startup(c.autoscaler_cpu_initialization, c.autoscaler_readiness_delay)
    return AutoscalerSettings(c.autoscaler_period, c.autoscaler_stabilization, c.autoscaler_tolerance, startup)
