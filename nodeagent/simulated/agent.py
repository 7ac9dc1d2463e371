"""One simulated agent: a join, then sessions, heartbeats and reports, each retried with back-off."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc

from nodeagent.node import supervisor
from nodeagent.simulated.joining import Joined, Joiner
from nodeagent.simulated.pods import ScriptedPods
from pinnace import __version__, channels, pki, wire
from pinnace.api.v1 import nodes_pb2, nodes_pb2_grpc
from pinnace.clock import Clock, jitter, spread
from pinnace.core.v1 import node_pb2
from pinnace.errors import ApiError

log = logging.getLogger("pinnace.simnodes")
# Seconds between tries, doubling; and for one report.
FIRST_RETRY, MAX_RETRY, REPORT_WITHIN = 0.1, 5.0, 20.0
MAX_PODS_PER_REPORT = 40
# Addresses for benchmarks (RFC 2544): no simulated node has one of the host's.
_UNDERLAY = ipaddress.IPv4Address("198.18.0.1")
_OPTIONS = (
    ("grpc.ssl_target_name_override", pki.SERVER_NAME),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 8 << 20),
    # gRPC would wait up to two minutes, and half of the time that a control plane was away.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    *wire.KEEPALIVE,
    *wire.WINDOW,
)


@dataclass(frozen=True, slots=True)
class Shape:
    """What each node has, as quantities, and the seconds until a pod is Ready."""

    cpu: str = "8"
    memory: str = "32Gi"
    pods: str = "110"
    ready_after: float = 0.05


class SimulatedAgent:
    def __init__(self, name: str, index: int, shape: Shape, clock: Clock) -> None:
        self.name = name
        self.open = asyncio.Event()
        self._index = index
        self._shape = shape
        self._clock = clock
        self._address = str(_UNDERLAY + index)
        self._pods = ScriptedPods(shape.ready_after, self._address)
        self._wake = asyncio.Event()
        # The revision of the last assignment.
        self._applied = 0

    async def run(self, joiner: Joiner, ca: bytes, token: str) -> None:
        """Until cancelled, or the control plane refuses the join for good."""
        joined = await self._join(joiner, token)
        if joined is None:
            return
        credentials = grpc.ssl_channel_credentials(ca, joined.pair.key, joined.pair.certificate)
        channel = channels.secure(joined.server, credentials, _OPTIONS)
        try:
            async with asyncio.TaskGroup() as group:
                stub = nodes_pb2_grpc.NodesStub(channel)
                for name, part in (("session", self._hold_sessions), ("reports", self._report)):
                    group.create_task(supervisor.keep(f"{self.name} {name}", functools.partial(part, stub), self._clock))
        finally:
            await channel.close()

    async def _join(self, joiner: Joiner, token: str) -> Joined | None:
        key, retry = pki.key_pem(pki.new_key()), FIRST_RETRY
        while True:
            try:
                return await joiner.join(self.name, self._index, token, key)
            except (OSError, TimeoutError, ValueError, KeyError, ApiError) as error:
                if isinstance(error, ApiError) and error.http in (400, 401, 403, 409, 422):
                    log.error("join_refused node=%s error=%s", self.name, error)
                    return None
                log.warning("join_failed node=%s error=%r", self.name, error)
            await self._clock.sleep(jitter(retry))
            retry = min(retry * 2, MAX_RETRY)

    async def _hold_sessions(self, stub: Any) -> None:
        retry = FIRST_RETRY
        while True:
            try:
                await self._hold(stub)
            except grpc.aio.AioRpcError as error:
                log.warning("session_lost node=%s code=%s details=%s", self.name, error.code().name, error.details())
            retry = FIRST_RETRY if self.open.is_set() else min(retry * 2, MAX_RETRY)
            self.open.clear()
            await self._clock.sleep(jitter(retry))

    async def _hold(self, stub: Any) -> None:
        """One session, to its end. Raises AioRpcError."""
        interval: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        call = stub.Session(self._speak(interval))
        try:
            async for message in call:
                kind = message.WhichOneof("message")
                if kind == "welcome":
                    self._pods.use(message.welcome.podCIDRs or [message.welcome.podCIDR])
                    interval.set_result(message.welcome.heartbeatMillis / 1000)
                    self.open.set()
                elif kind == "assignment":
                    self._pods.apply(message.assignment, self._clock.monotonic())
                    self._applied = message.assignment.revision
                    self._wake.set()
        finally:
            call.cancel()

    async def _speak(self, interval: asyncio.Future[float]) -> AsyncIterator[Any]:
        yield nodes_pb2.NodeMessage(hello=self._hello())
        every = await interval
        # Nodes that start together do not beat together.
        await self._clock.sleep(spread(every))
        while True:
            yield nodes_pb2.NodeMessage(heartbeat=nodes_pb2.Heartbeat(applied=self._applied))
            await self._clock.sleep(every)

    async def _report(self, stub: Any) -> None:
        while True:
            now = self._clock.monotonic()
            if self._pods.due > now:
                self._wake.clear()
                await self._clock.wait(self._wake, self._pods.due - now if self._pods.due < float("inf") else None)
                continue
            reports = self._pods.take(now, self._clock.now(), MAX_PODS_PER_REPORT)
            try:
                if reports:
                    await stub.ReportStatus(nodes_pb2.ReportStatusRequest(pods=reports), timeout=REPORT_WITHIN)
            except grpc.aio.AioRpcError as error:
                log.warning("report_failed node=%s code=%s", self.name, error.code().name)
                await self._clock.sleep(jitter(1.0))
                self._pods.retry(reports, self._clock.monotonic())

    def _hello(self) -> nodes_pb2.Hello:
        node, shape = node_pb2.Node(), self._shape
        node.metadata.name = self.name
        node.metadata.labels.update({"kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux"})
        for amounts in (node.status.capacity, node.status.allocatable):
            amounts["cpu"].string, amounts["memory"].string, amounts["pods"].string = shape.cpu, shape.memory, shape.pods
            amounts["ephemeral-storage"].string = "100Gi"
        node.status.addresses.add(type="InternalIP", address=self._address)
        node.status.addresses.add(type="Hostname", address=self.name)
        node.status.nodeInfo.containerRuntimeVersion = f"simulated://{__version__}"
        node.status.nodeInfo.kubeletVersion = f"v{__version__}"
        octets = self._index.to_bytes(4, "big")
        return nodes_pb2.Hello(node=node, vtepMac="0a:58:" + ":".join(f"{octet:02x}" for octet in octets))
