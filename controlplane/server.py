"""The control plane put together: store, services, scheduler, controllers, listeners, and how they start and stop."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane import apileases, bootstrap, resources, tokens
from controlplane.access import auditlog, bootstraproles, control
from controlplane.access.authenticator import Authenticator
from controlplane.access.authorizers import Authorizers
from controlplane.access.certificates import Certificates, Lifetimes, ensure_ca
from controlplane.access.control import AccessControl, TokenSettings
from controlplane.access.joining import Joining, Terms
from controlplane.apileases import Announcement
from controlplane.backends import open_backend
from controlplane.config import Config
from controlplane.controllers.localpath import LocalPathProvisioner
from controlplane.controllers.rootcapublisher import RootCAPublisher
from controlplane.dispatcher import network
from controlplane.dispatcher.podcidrs import PodCIDRs
from controlplane.dispatcher.service import Nodes, Settings
from controlplane.election import Elector
from controlplane.http.listener import Listener
from controlplane.labtime import LabTime
from controlplane.leader import Leader
from controlplane.requests import verbs
from controlplane.requests.execution import Executor
from controlplane.resources.registry import Registry
from controlplane.resources.rootca import RootCA
from controlplane.rest import port as web_port
from controlplane.rest.statistics import Statistics
from controlplane.rpc import port as grpc_port
from controlplane.rpc.access import Access
from controlplane.rpc.auditing import Auditor
from controlplane.rpc.cluster import Cluster, Signer
from controlplane.rpc.guard import Guard
from controlplane.rpc.objects import Objects
from controlplane.rpc.permissions import Permissions
from controlplane.rpc.port import Servicers
from controlplane.rpc.streams import Streams
from controlplane.rpc.timeline import Timeline
from controlplane.scheduler.deferred import DeferredScheduler
from controlplane.store import Store, origin
from controlplane.timeline import attempts
from controlplane.timeline.log import Limits, Log
from controlplane.timeline.recorder import Recorder
from pinnace import labclock, memory
from pinnace.clock import Clock, Ids
from pinnace.errors import BadRequest

log = logging.getLogger("pinnace.controlplane")
# Seconds that calls in progress have when the server stops.
STOP_GRACE = 1.0


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
    announcement: Announcement


class ControlPlane:
    def __init__(self, config: Config, clock: Clock, ids: Ids) -> None:
        self._config = config
        self._clock = clock
        self._ids = ids
        self._audit: auditlog.Log | None = None
        # IP and port at which pods reach this control plane; None: not at all.
        self._api: tuple[str, int] | None = None

    async def run(self, ready: asyncio.Event, stop: asyncio.Event) -> None:
        """Serve until `stop`; sets `ready` once every listener is open."""
        self._audit = self._open_audit()
        registry = resources.built_in(self._config.services, self._config.admission_plugins.split(","))
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
                lead, server = group.create_task(self._leader(components).run()), None
                try:
                    server = await self._listen(components)
                    if self._config.web or self._config.web_fds:
                        tasks.append(group.create_task((await self._listen_web(components)).serve()))
                    ready.set()
                    tasks.append(group.create_task(memory.keep_collecting(self._clock)))
                    c = self._config
                    log.info("serving listen=%s web=%s socket=%s store=%s", c.listen, c.web, c.socket, c.store)
                    await stop.wait()
                finally:
                    # First, while the store still works: another control plane can lead at once.
                    lead.cancel()
                    await asyncio.wait([lead])
                    await components.announcement.withdraw()
                    components.nodes.close()
                    if server is not None:
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
        self._api = await asyncio.to_thread(apileases.resolved, config.api_for_pods, config.api_family)
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
            Announcement(store, self._clock, None if store.backend.exclusive else self._api),
        )  # fmt: skip

    def _loops(self, components: Components) -> tuple[Coroutine[Any, Any, None], ...]:
        """That run as long as the control plane, whether it leads or not."""
        c = components
        return (
            c.authenticator.run(), c.certificates.run(), c.nodes.run(), memory.keep_trim(self._clock), c.announcement.run()
        )  # fmt: skip

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
            names=(f"kubernetes.default.svc.{c.cluster_domain}", *c.services.api_addresses),
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
        cidrs, bits, own = config.cluster_cidrs, config.share_bits, config.family_bits
        found = await store.update(lambda tx: network.settle(tx, cidrs=cidrs, bits=bits, needed=own, now=now))
        # The cluster's range of pods may be another one than the flags have.
        network.check_ranges(found, config.service_cidr.split(","), config.pool)
        return PodCIDRs(*found.ranges, claims=not store.backend.exclusive)

    def _settings(self) -> Settings:
        c = self._config
        return Settings(
            c.heartbeat, c.node_grace, c.vni, c.vxlan_port, c.node_certificate, c.api_for_pods, c.services, c.cluster_domain,
            c.encrypt,
        )  # fmt: skip

    def _token_settings(self) -> TokenSettings:
        c = self._config
        return TokenSettings(
            c.service_account_issuer, c.api_audiences, c.token_auth_file, jwks_uri=c.service_account_jwks_uri
        )  # fmt: skip

    def _leader(self, components: Components) -> Leader:
        c = components
        ca = c.certificates.ca.certificate
        return Leader(self._config, self._clock, c.elector, c.scheduler, c.statistics, c.time, ca, self._api)

    async def _listen(self, components: Components) -> Any:
        """The gRPC server, started."""
        config, c = self._config, components
        cluster = Cluster(
            c.store, self._clock, c.scheduler, c.permissions, time=c.time,
            signer=Signer(c.certificates.ca, config.admin_certificate), join=config.web_address,
            backend=config.store.partition(":")[0],
        )  # fmt: skip
        auditor = None if self._audit is None else Auditor(self._audit, Registry.of(c.store), self._clock, self._ids)
        servicers = Servicers(
            Objects(c.store, self._clock, self._ids, c.executor, c.permissions), c.nodes,
            Streams(c.store, c.nodes.switchboard, c.permissions), cluster,
            Access(c.access.reviews, c.access.authorizers, c.permissions, self._clock),
            Timeline(c.store, c.permissions, c.recorder),
        )  # fmt: skip
        guard = Guard(c.authenticator, auditor)
        return await grpc_port.open_port(config.listen, config.socket, servicers, guard=guard, certificates=c.certificates)

    async def _listen_web(self, components: Components) -> Listener:
        """The HTTPS server: REST API, joining, health and metrics."""
        config, c = self._config, components
        terms = Terms(config.node_certificate, config.node_renewal, config.grpc_address)
        joining = Joining(c.store, self._clock, self._ids, ca=c.certificates.ca, terms=terms, cidrs=c.cidrs)
        return await web_port.open_port(
            config.web, config.web_fds, store=c.store, clock=self._clock, ids=self._ids, executor=c.executor,
            certificates=c.certificates, authenticator=c.authenticator, access=c.access, joining=joining,
            audit=self._audit, switchboard=c.nodes.switchboard, statistics=c.statistics,
            advertise=config.rest.removeprefix("https://"),
        )  # fmt: skip
