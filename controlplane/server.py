"""The control plane put together: store, services, scheduler, controllers, listeners, and how they start and stop."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from controlplane import bootstrap, resources, tokens
from controlplane.access import auditlog, bootstraproles, control
from controlplane.access.authenticator import Authenticator
from controlplane.access.authorizers import Authorizers
from controlplane.access.certificates import Certificates, Lifetimes, ensure_ca
from controlplane.access.control import AccessControl, TokenSettings
from controlplane.access.joining import Joining, Terms
from controlplane.backends import open_backend
from controlplane.config import Config
from controlplane.controllers.clusterroleaggregation import ClusterRoleAggregation
from controlplane.controllers.cronjob import CronJobs
from controlplane.controllers.customresources import CustomResources
from controlplane.controllers.daemonset import DaemonSets
from controlplane.controllers.deployment import Deployments
from controlplane.controllers.disruption import EvictionRates
from controlplane.controllers.ephemeralvolume import EphemeralVolumes
from controlplane.controllers.eventttl import EventTTL
from controlplane.controllers.garbage import Garbage
from controlplane.controllers.horizontalpodautoscaler import HorizontalPodAutoscalers
from controlplane.controllers.horizontalscaling import Settings as AutoscalerSettings
from controlplane.controllers.job import Jobs
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
from controlplane.controllers.statefulset import StatefulSets
from controlplane.controllers.tainteviction import TaintEviction
from controlplane.controllers.ttlafterfinished import TTLAfterFinished
from controlplane.controllers.volumebinder import PersistentVolumeBinder
from controlplane.controllers.volumeexpansion import PersistentVolumeExpander
from controlplane.controllers.volumeprotection import ClaimProtection, VolumeProtection
from controlplane.deferredaccept import defer_accept
from controlplane.dispatcher import network
from controlplane.dispatcher.podcidrs import PodCIDRs
from controlplane.dispatcher.service import Nodes, Settings
from controlplane.election import Elector
from controlplane.http.listener import Listener
from controlplane.labtime import LabTime
from controlplane.podusage import PodUsage
from controlplane.requests import verbs
from controlplane.requests.execution import Executor
from controlplane.resources.registry import Registry
from controlplane.resources.rootca import RootCA
from controlplane.rest.port import open_port
from controlplane.rest.statistics import Statistics
from controlplane.rpc.access import Access
from controlplane.rpc.auditing import Auditor
from controlplane.rpc.cluster import Cluster, Signer
from controlplane.rpc.guard import Guard
from controlplane.rpc.objects import Objects
from controlplane.rpc.permissions import Permissions
from controlplane.rpc.streams import Streams
from controlplane.rpc.timeline import Timeline
from controlplane.scheduler.deferred import DeferredScheduler
from controlplane.store import Store, origin
from controlplane.timeline import attempts
from controlplane.timeline.log import Limits, Log
from controlplane.timeline.recorder import Recorder
from controlplane.usagecollector import UsageCollector
from pinnace import labclock, memory, openfiles, wire
from pinnace.api.v1 import (
    access_pb2_grpc,
    cluster_pb2_grpc,
    nodes_pb2_grpc,
    objects_pb2_grpc,
    streams_pb2_grpc,
    timeline_pb2_grpc,
)
from pinnace.clock import Clock, Ids
from pinnace.errors import BadRequest

log = logging.getLogger("pinnace.controlplane")
SERVICES = tuple(f"pinnace.api.v1.{name}" for name in ("Objects", "Nodes", "Streams", "Cluster", "Access", "Timeline"))
# Descriptors for the store, logs and outgoing connections.
RESERVED_FILES = 256
# Seconds that calls in progress have when the server stops.
STOP_GRACE = 1.0
_OPTIONS = (
    ("grpc.max_receive_message_length", 8 << 20),
    ("grpc.max_concurrent_streams", 1000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.so_reuseport", 0),
    # A peer that begins a handshake and does not go on holds a connection for this long; gRPC's own default is two minutes.
    ("grpc.server_handshake_timeout_ms", 5_000),
    *wire.WINDOW,
)


@dataclass(frozen=True, slots=True)
class Components:
    """What a control plane consists of, once its store is open and bootstrapped; nothing of it runs yet."""

    store: Store
    certificates: Certificates
    authenticator: Authenticator
    access: AccessControl
    permissions: Permissions
    executor: Executor
    elector: Elector
    scheduler: DeferredScheduler
    cidrs: PodCIDRs
    nodes: Nodes
    recorder: Recorder | None
    statistics: Statistics
    time: LabTime


class ControlPlane:
    def __init__(self, config: Config, clock: Clock, ids: Ids) -> None:
        self._config = config
        self._clock = clock
        self._ids = ids
        self._audit: auditlog.Log | None = None

    async def run(self, ready: asyncio.Event, stop: asyncio.Event) -> None:
        """Serve until `stop`; sets `ready` once every listener is open."""
        self._audit = self._open_audit()
        registry = resources.built_in()
        store = await Store.open(open_backend(self._config), self._clock, registry)
        recorder = self._open_timeline(store)
        try:
            # As soon as the state directory is this process's own: `kctl lab up` starts agents with the CA's hash.
            ensure_ca(self._config.state_dir / "pki", labclock.machine(self._clock).now())
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(store.serve())]
                if recorder is not None:
                    tasks.append(group.create_task(recorder.run()))
                components = await self._assemble(store, registry, recorder)
                tasks += [group.create_task(loop) for loop in self._loops(components)]
                lead = group.create_task(self._lead(components))
                server = await self._listen(components)
                if self._config.web or self._config.web_fds:
                    tasks.append(group.create_task((await self._listen_web(components)).serve()))
                ready.set()
                tasks.append(group.create_task(memory.keep_collecting(self._clock)))
                c = self._config
                log.info("serving listen=%s web=%s socket=%s store=%s", c.listen, c.web, c.socket, c.store)
                await stop.wait()
                # First, while the store still works: another control plane can lead at once.
                lead.cancel()
                await asyncio.wait([lead])
                components.nodes.close()
                await server.stop(STOP_GRACE)
                for task in tasks:
                    task.cancel()
        finally:
            await store.close()
            if self._audit is not None:
                self._audit.close()

    async def _assemble(self, store: Store, registry: Registry, recorder: Recorder | None) -> Components:
        """Write the objects that every cluster has, then make the components. Raises BadRequest, Invalid, OSError."""
        config = self._config
        authorizers = Authorizers(store)
        registry.plugins += (authorizers.plugin(),)
        call = verbs.Call(self._clock.now(), self._ids, "bootstrap")
        local_path = LocalPathProvisioner.name not in config.disabled
        with origin.acting("bootstrap"):
            await store.update(lambda tx: bootstrap.objects(tx, call, local_path=local_path))
            await store.update(lambda tx: bootstraproles.reconcile(tx, call))
        # Only now: certificates next to an empty store are a store that was lost.
        certificates = self._certificates()
        if RootCAPublisher.name not in config.disabled:
            registry.plugins += (RootCA(certificates.ca.certificate),)
        await self._take_tokens(store)
        elector = Elector(store, labclock.steady(self._clock), f"{socket.gethostname()}-{self._ids.uid()[:8]}")
        cidrs = await self._pod_cidrs(store)
        access = control.build(store, self._ids, authorizers, config.state_dir / "pki", self._token_settings())
        nodes = Nodes(
            store, self._clock, self._ids, self._settings(), ca=certificates.ca, cidrs=cidrs,
            create_token=access.reviews.create_token,
        )  # fmt: skip
        switchboard: Any = nodes.switchboard
        return Components(
            store, certificates, Authenticator(store, labclock.machine(self._clock)), access, Permissions(authorizers),
            Executor(store), elector, DeferredScheduler(elector.store, self._clock, attempts.sink(recorder)), cidrs, nodes,
            recorder, Statistics(switchboard, self._clock), LabTime(self._clock, nodes.clock_advanced),
        )  # fmt: skip

    def _loops(self, components: Components) -> tuple[Coroutine[Any, Any, None], ...]:
        """That run as long as the control plane, whether it leads or not."""
        c = components
        return c.authenticator.run(), c.certificates.run(), c.nodes.run(), memory.keep_trim(self._clock)

    def _open_audit(self) -> auditlog.Log | None:
        """None without an audit log. Raises Invalid."""
        c = self._config
        if not c.audit_log_path:
            return None
        return auditlog.open_log(
            c.audit_log_path, c.audit_policy_file, megabytes=c.audit_log_maxsize, backups=c.audit_log_maxbackup
        )

    def _open_timeline(self, store: Store) -> Recorder | None:
        """Before the store is served, so that no change is missing. None without a timeline."""
        c = self._config
        if not c.timeline_maxsize:
            return None
        file = Log(c.state_dir / "timeline.db", Limits(c.timeline_maxsize << 20, c.timeline_maxage))
        # Objects in memory are gone with their process, and the next ones have the same revisions.
        return Recorder(store, self._clock, file, fresh=c.store == "memory")

    def _certificates(self) -> Certificates:
        """Raises Invalid."""
        c = self._config
        lifetimes = Lifetimes(c.server_certificate, c.admin_certificate)
        return Certificates(
            c.state_dir / "pki",
            labclock.machine(self._clock),
            endpoint=c.endpoint,
            lifetimes=lifetimes,
            host=c.advertise,
            rest=c.rest,
        )

    async def _take_tokens(self, store: Store) -> None:
        """Tokens of the file that are not known yet. Raises BadRequest, OSError."""
        if not self._config.join_tokens:
            return
        try:
            listed = list(tokens.parse_list(Path(self._config.join_tokens).read_text()))
        except (BadRequest, UnicodeDecodeError) as error:
            raise BadRequest(f"--join-tokens {self._config.join_tokens}: {error}") from None
        if len(listed) > tokens.MAX_LISTED:
            raise BadRequest(f"--join-tokens {self._config.join_tokens}: more than {tokens.MAX_LISTED} tokens")
        now = self._clock.now()
        for token, node in listed:
            keep = functools.partial(tokens.keep_listed, token=token, now=now, ttl=tokens.DEFAULT_TTL, node=node)
            await store.update(keep)

    async def _pod_cidrs(self, store: Store) -> PodCIDRs:
        """Raises Invalid when flags and cluster do not fit."""
        config, now = self._config, self._clock.now()
        found = await store.update(lambda tx: network.settle(tx, cidr=config.cluster_cidr, bits=config.node_bits, now=now))
        return PodCIDRs(found.cidr, found.bits, claims=not store.backend.exclusive)

    def _settings(self) -> Settings:
        c = self._config
        return Settings(c.heartbeat, c.node_grace, c.vni, c.vxlan_port, c.node_certificate, c.api_for_pods)

    def _token_settings(self) -> TokenSettings:
        c = self._config
        return TokenSettings(
            c.service_account_issuer, c.api_audiences, c.token_auth_file, jwks_uri=c.service_account_jwks_uri
        )  # fmt: skip

    async def _lead(self, components: Components) -> None:
        """Run controllers and the scheduler whenever this control plane is the leader."""
        elector, ca = components.elector, components.certificates.ca.certificate

        async def work() -> None:
            # Made anew each time: what a former leader has observed is out of date.
            usage = PodUsage()
            manager = ControllerManager(
                elector.store, self._clock, self.controllers(ca, usage), unasked=components.time.unasked
            )
            async with asyncio.TaskGroup() as group:
                group.create_task(manager.run())
                if HorizontalPodAutoscalers.name not in self._config.disabled:
                    period = self._config.autoscaler_period
                    collector = UsageCollector(elector.store, components.statistics, usage, self._clock, period=period)
                    group.create_task(collector.run())
                if self._config.scheduler:
                    group.create_task(components.scheduler.run())

        await elector.lead(work)

    def controllers(self, ca: bytes, usage: PodUsage) -> list[Controller]:
        """All that are not disabled; `usage` is where the measurements of pods are."""
        c = self._config
        rates = EvictionRates(c.eviction_rate, c.secondary_eviction_rate, c.unhealthy_zone_threshold, c.large_zone)
        every: list[Controller] = [
            NodeLifecycle(c.lease_grace, rates), TaintEviction(), Namespaces(), Garbage(), PodGC(c.terminated_pods),
            EventTTL(c.event_ttl), ResourceQuotas(), CustomResources(), ClusterRoleAggregation(),
            ServiceAccounts(), RootCAPublisher(ca), ReplicaSets(), ReplicationControllers(), Deployments(), DaemonSets(),
            StatefulSets(), Jobs(), CronJobs(), TTLAfterFinished(),
            PodDisruptionBudgets(), HorizontalPodAutoscalers(usage, self._autoscaler_settings()),
            PersistentVolumeBinder(), PersistentVolumeExpander(), ClaimProtection(), VolumeProtection(),
            EphemeralVolumes(), LocalPathProvisioner(),
        ]  # fmt: skip
        return [controller for controller in every if controller.name not in c.disabled]

    def _autoscaler_settings(self) -> AutoscalerSettings:
        c = self._config
        startup = Startup(c.autoscaler_cpu_initialization, c.autoscaler_readiness_delay)
        return AutoscalerSettings(c.autoscaler_period, c.autoscaler_stabilization, c.autoscaler_tolerance, startup)

    async def _listen(self, components: Components) -> Any:
        """The gRPC server, started."""
        config, c = self._config, components
        audit = self._audit
        told = None if audit is None else Auditor(audit, Registry.of(c.store), self._clock, self._ids)
        server = grpc.aio.server(interceptors=[Guard(c.authenticator, told)], options=_OPTIONS + _most_connections())
        join = f"{config.advertise}:{config.web.rpartition(':')[2]}" if config.web else ""
        cluster = Cluster(
            c.store, self._clock, c.scheduler, c.permissions, time=c.time,
            signer=Signer(c.certificates.ca, config.admin_certificate), join=join, backend=config.store.partition(":")[0],
        )  # fmt: skip
        objects = Objects(c.store, self._clock, self._ids, c.executor, c.permissions)
        objects_pb2_grpc.add_ObjectsServicer_to_server(objects, server)
        nodes_pb2_grpc.add_NodesServicer_to_server(c.nodes, server)
        streams_pb2_grpc.add_StreamsServicer_to_server(Streams(c.store, c.nodes.switchboard, c.permissions), server)
        cluster_pb2_grpc.add_ClusterServicer_to_server(cluster, server)
        service = Access(c.access.reviews, c.access.authorizers, c.permissions, self._clock)
        access_pb2_grpc.add_AccessServicer_to_server(service, server)
        timeline_pb2_grpc.add_TimelineServicer_to_server(Timeline(c.store, c.permissions, c.recorder), server)
        _standard_services(server)
        if config.listen:
            port = server.add_secure_port(config.listen, c.certificates.credentials())
        if config.socket:
            Path(config.socket).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            Path(config.socket).unlink(missing_ok=True)
            server.add_secure_port(f"unix:{config.socket}", c.certificates.credentials())
        await server.start()
        if config.listen:
            defer_accept(port)
        if config.socket:
            os.chmod(config.socket, 0o600)
        return server

    async def _listen_web(self, components: Components) -> Listener:
        """The HTTPS server: REST API, joining, health and metrics."""
        config, c = self._config, components
        server = f"{config.advertise}:{config.listen.rpartition(':')[2]}"
        terms = Terms(config.node_certificate, config.node_renewal, server)
        joining = Joining(c.store, self._clock, self._ids, ca=c.certificates.ca, terms=terms, cidrs=c.cidrs)
        return await open_port(
            config.web, config.web_fds, store=c.store, clock=self._clock, ids=self._ids, executor=c.executor,
            certificates=c.certificates, authenticator=c.authenticator, access=c.access, joining=joining,
            audit=self._audit, switchboard=c.nodes.switchboard, statistics=c.statistics,
            advertise=config.rest.removeprefix("https://"),
        )  # fmt: skip


def _most_connections() -> tuple[tuple[str, int], ...]:
    """The gRPC port leaves descriptors to the HTTPS port, the store and files."""
    limit = openfiles.limit()
    return (("grpc.max_allowed_incoming_connections", max(limit - limit // 8 - RESERVED_FILES, 64)),)


def _standard_services(server: Any) -> None:
    """Health and reflection, so that grpcurl and probes work."""
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection

    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    for name in ("", *SERVICES):
        # The servicer's table is filled before the server starts; its `set` is a coroutine only for watchers.
        servicer._server_status[name] = health_pb2.HealthCheckResponse.SERVING
    reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
