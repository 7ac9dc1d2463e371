"""The gRPC port put together: which services answer on it, its limits, and where it listens."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from controlplane.access.certificates import Certificates
from controlplane.deferredaccept import defer_accept
from controlplane.rpc.access import Access
from controlplane.rpc.cluster import Cluster
from controlplane.rpc.guard import Guard
from controlplane.rpc.objects import Objects
from controlplane.rpc.streams import Streams
from controlplane.rpc.timeline import Timeline
from pinnace import openfiles, wire
from pinnace.api.v1 import (
    access_pb2_grpc,
    cluster_pb2_grpc,
    nodes_pb2_grpc,
    objects_pb2_grpc,
    streams_pb2_grpc,
    timeline_pb2_grpc,
)

SERVICES = tuple(f"pinnace.api.v1.{name}" for name in ("Objects", "Nodes", "Streams", "Cluster", "Access", "Timeline"))
# Descriptors for the store, logs and outgoing connections.
RESERVED_FILES = 256
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
class Servicers:
    """One of each service."""

    objects: Objects
    nodes: nodes_pb2_grpc.NodesServicer
    streams: Streams
    cluster: Cluster
    access: Access
    timeline: Timeline

    def add_to(self, server: grpc.aio.Server) -> None:
        objects_pb2_grpc.add_ObjectsServicer_to_server(self.objects, server)
        nodes_pb2_grpc.add_NodesServicer_to_server(self.nodes, server)
        streams_pb2_grpc.add_StreamsServicer_to_server(self.streams, server)
        cluster_pb2_grpc.add_ClusterServicer_to_server(self.cluster, server)
        access_pb2_grpc.add_AccessServicer_to_server(self.access, server)
        timeline_pb2_grpc.add_TimelineServicer_to_server(self.timeline, server)


async def open_port(
    address: str, path: str, servicers: Servicers, *, guard: Guard, certificates: Certificates
) -> grpc.aio.Server:
    """A server, started, that listens at `host:port` and on a Unix socket; each may be empty. Raises OSError, RuntimeError."""
    server = grpc.aio.server(interceptors=[guard], options=_OPTIONS + _most_connections())
    servicers.add_to(server)
    _standard_services(server)
    port = server.add_secure_port(address, certificates.credentials()) if address else 0
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        Path(path).unlink(missing_ok=True)
        # Others than those of the first port: gRPC takes reloading credentials for one port alone.
        server.add_secure_port(f"unix:{path}", certificates.credentials())
    await server.start()
    if address:
        defer_accept(port)
    if path:
        os.chmod(path, 0o600)
    return server


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
