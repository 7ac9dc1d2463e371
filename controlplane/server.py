"""The control plane put together: store, services, scheduler, controllers, listeners, and how they start and stop."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import socket
import ssl
import tempfile
from pathlib import Path
from typing import Any

import grpc
from prometheus_client import generate_latest

from controlplane import bootstrap, cadvisor, identityfiles, metrics, tokens
from controlplane.api import verbs
from controlplane.api.cluster import Cluster
from controlplane.api.guard import Guard
from controlplane.api.objects import Objects
from controlplane.api.streams import Streams
from controlplane.config import Config
from controlplane.controllers.eventttl import EventTTL
from controlplane.controllers.garbage import Garbage
from controlplane.controllers.namespaces import Namespaces
from controlplane.controllers.nodelifecycle import NodeLifecycle
from controlplane.controllers.podgc import PodGC
from controlplane.controllers.runner import Controller, Runner
from controlplane.controllers.tainteviction import TaintEviction
from controlplane.dispatcher.service import Nodes, Settings
from controlplane.election import Elector
from controlplane.scheduler.service import Scheduler
from controlplane.store import Backend, Store
from controlplane.web import Request, Response, Route, Web
from pinnace import kinds, memory, pki, wire
from pinnace.api.v1 import cluster_pb2_grpc, nodes_pb2_grpc, objects_pb2_grpc, streams_pb2_grpc
from pinnace.clock import Clock, Ids
from pinnace.errors import BadRequest
from pinnace.rules import is_subdomain

log = logging.getLogger("pinnace.controlplane")
SERVICES = ("pinnace.api.v1.Objects", "pinnace.api.v1.Nodes", "pinnace.api.v1.Streams", "pinnace.api.v1.Cluster")
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
    *wire.WINDOW,
)


def open_backend(config: Config) -> Backend:
    """Raises Unavailable when the state is in use by another process."""
    if config.store == "memory":
        from controlplane.store.memory import MemoryBackend

        return MemoryBackend()
    if config.store.startswith("etcd://"):
        from controlplane.store.etcd import EtcdBackend

        return EtcdBackend(config.store.removeprefix("etcd://").split(","))
    from controlplane.store.sqlite import SQLiteBackend

    return SQLiteBackend(config.state_dir / "store.db")


class ControlPlane:
    def __init__(self, config: Config, clock: Clock, ids: Ids) -> None:
        self._config = config
        self._clock = clock
        self._ids = ids

    async def run(self, ready: asyncio.Event, stop: asyncio.Event) -> None:
        """Serve until `stop`; sets `ready` once every listener is open."""
        config = self._config
        files = identityfiles.ensure(config.state_dir / "pki", endpoint=config.endpoint, now=self._clock.now())
        store = await Store.open(open_backend(config), self._clock)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(store.serve())]
                await store.update(lambda tx: bootstrap.namespaces(tx, verbs.Call(self._clock.now(), self._ids, "bootstrap")))
                await self._take_tokens(store)
                scheduler = Scheduler(store, self._clock)
                nodes = Nodes(store, self._clock, self._ids, self._settings(), files.ca)
                tasks.append(group.create_task(nodes.run()))
                tasks.append(group.create_task(memory.keep_trim(self._clock)))
                tasks.append(group.create_task(self._lead(store, scheduler)))
                server, web = await self._listen(store, scheduler, nodes, files)
                ready.set()
                log.info(
                    "serving listen=%s web=%s socket=%s store=%s",
                    config.listen,
                    config.web,
                    config.socket,
                    config.store,
                )
                await stop.wait()
                nodes.close()
                if web is not None:
                    web.close()
                await server.stop(STOP_GRACE)
                for task in tasks:
                    task.cancel()
        finally:
            await store.close()

    async def _take_tokens(self, store: Store) -> None:
        """Tokens that whoever started us made beforehand."""
        if self._config.join_tokens:
            now = self._clock.now()
            for token in Path(self._config.join_tokens).read_text().split():
                await store.update(functools.partial(tokens.keep, token=token, now=now, ttl=tokens.DEFAULT_TTL))

    def _settings(self) -> Settings:
        c = self._config
        return Settings(c.cluster_cidr, c.node_bits, c.heartbeat, c.node_grace, c.vni, c.vxlan_port)

    async def _lead(self, store: Store, scheduler: Scheduler) -> None:
        async def work() -> None:
            async with asyncio.TaskGroup() as group:
                for controller in self._controllers():
                    group.create_task(Runner(store, self._clock, controller).run())
                if self._config.scheduler:
                    group.create_task(scheduler.run())

        if store.backend.exclusive:
            await work()
        else:
            await Elector(store, self._clock, f"{socket.gethostname()}-{self._ids.uid()[:8]}").lead(work)

    def _controllers(self) -> list[Controller]:
        every: list[Controller] = [
            NodeLifecycle(self._config.node_grace), TaintEviction(), Namespaces(), Garbage(), PodGC(),
            EventTTL(self._config.event_ttl),
        ]  # fmt: skip
        return [controller for controller in every if controller.name not in self._config.disabled]

    async def _listen(
        self, store: Store, scheduler: Scheduler, nodes: Nodes, files: identityfiles.Files
    ) -> tuple[Any, asyncio.Server | None]:
        config = self._config
        server = grpc.aio.server(interceptors=[Guard()], options=_OPTIONS)
        join = f"{config.advertise}:{config.web.rpartition(':')[2]}" if config.web else ""
        cluster = Cluster(
            store, self._clock, scheduler, ca_hash=pki.fingerprint(files.ca.certificate), join=join,
            backend=config.store.partition(":")[0],
        )  # fmt: skip
        objects_pb2_grpc.add_ObjectsServicer_to_server(Objects(store, self._clock, self._ids), server)
        nodes_pb2_grpc.add_NodesServicer_to_server(nodes, server)
        streams_pb2_grpc.add_StreamsServicer_to_server(Streams(store, nodes.switchboard), server)
        cluster_pb2_grpc.add_ClusterServicer_to_server(cluster, server)
        _standard_services(server)
        credentials = grpc.ssl_server_credentials(
            [(files.server.key, files.server.certificate)],
            root_certificates=files.ca.certificate,
            require_client_auth=True,
        )
        if config.listen:
            server.add_secure_port(config.listen, credentials)
        if config.socket:
            Path(config.socket).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            Path(config.socket).unlink(missing_ok=True)
            server.add_secure_port(f"unix:{config.socket}", credentials)
        await server.start()
        if config.socket:
            os.chmod(config.socket, 0o600)
        return server, await self._serve_web(store, nodes, files) if config.web else None

    async def _serve_web(self, store: Store, nodes: Nodes, files: identityfiles.Files) -> asyncio.Server:
        async def ca(request: Request) -> Response:
            return Response(files.ca.certificate, "application/x-pem-file")

        async def health(request: Request) -> Response:
            return Response(b"ok\n")

        async def scrape(request: Request) -> Response:
            metrics.revision.set(store.revision)
            return Response(generate_latest(metrics.REGISTRY), "text/plain; version=0.0.4; charset=utf-8")

        async def scrape_containers(request: Request) -> Response:
            names = [node.metadata.name for node in store.view(lambda tx: tx.list(kinds.NODE))]
            found = await cadvisor.ask(nodes.switchboard, names)
            return Response(cadvisor.render(found), "text/plain; version=0.0.4; charset=utf-8")

        async def join(request: Request) -> Response:
            return await self._join(store, files.ca, request)

        routes: dict[str, Route] = {
            "/ca.pem": ca,
            "/join": join,
            "/healthz": health,
            "/readyz": health,
            "/livez": health,
            "/metrics": scrape,
            "/metrics/cadvisor": scrape_containers,
        }
        host, _, port = self._config.web.rpartition(":")
        web = Web(routes, public=frozenset({"/ca.pem", "/join"}))
        return await web.serve(host, int(port), _tls(files))

    async def _join(self, store: Store, ca: pki.Pair, request: Request) -> Response:
        try:
            asked = json.loads(request.body)
            name, token, csr = (str(asked[key]) for key in ("node", "token", "csr"))
        except (ValueError, KeyError, TypeError):
            raise BadRequest("expected a JSON object with node, token and csr") from None
        wrong = is_subdomain(name)
        if request.method != "POST" or wrong:
            raise BadRequest(f"the node name {wrong}" if wrong else "join with POST")
        now = self._clock.now()
        # The request is checked first, so that a mistake in it does not use the token up.
        certificate = pki.sign_csr(ca, csr.encode(), f"system:node:{name}", ("system:nodes",), now=now)
        await store.update(lambda tx: tokens.spend(tx, token, now=now))
        log.info("node_joined node=%s", name)
        config = self._config
        answer = {
            "certificate": certificate.decode(),
            "ca": ca.certificate.decode(),
            "server": f"{config.advertise}:{config.listen.rpartition(':')[2]}",
        }
        return Response(json.dumps(answer).encode(), "application/json")


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


def _tls(files: identityfiles.Files) -> ssl.SSLContext:
    """TLS 1.3 only; a client certificate is verified when shown. `ssl` reads files only, so they are shown to it briefly."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=files.ca.certificate.decode())
    with tempfile.NamedTemporaryFile("wb", prefix="pinnace-") as file:
        file.write(files.server.key + files.server.certificate)
        file.flush()
        context.load_cert_chain(file.name)
    return context
