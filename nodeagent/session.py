"""The connection to the control plane: one session that is opened again whenever it ends.

The session carries assignments and offers down, heartbeats up. Reports and streams are calls of their own on the same
channel. Without a control plane nothing here matters: the pods go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import grpc

from nodeagent.streams.service import Streams
from pinnace import pki, wire
from pinnace.api.v1 import nodes_pb2, nodes_pb2_grpc
from pinnace.clock import Clock, jitter

log = logging.getLogger("pinnace.session")
# Seconds between tries, doubling; and for one report.
FIRST_RETRY, MAX_RETRY = 0.1, 5.0
REPORT_WITHIN = 20.0
MAX_STREAMS = 200
_OPTIONS = (
    ("grpc.ssl_target_name_override", pki.SERVER_NAME),
    ("grpc.max_receive_message_length", 8 << 20),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    *wire.WINDOW,
)


class Session:
    def __init__(self, server: str, folder: Path, clock: Clock) -> None:
        """`folder` holds ca.crt, node.crt and node.key."""
        self._server = server
        self._folder = folder
        self._clock = clock
        self._stub: Any = None
        self._streams: set[asyncio.Task[None]] = set()

    def _channel(self) -> Any:
        credentials = grpc.ssl_channel_credentials(
            (self._folder / "ca.crt").read_bytes(),
            (self._folder / "node.key").read_bytes(),
            (self._folder / "node.crt").read_bytes(),
        )
        return grpc.aio.secure_channel(self._server, credentials, options=_OPTIONS)

    async def run(
        self,
        hello: Callable[[], nodes_pb2.Hello],
        welcomed: Callable[[nodes_pb2.Welcome], Any],
        assigned: Callable[[nodes_pb2.Assignment], None],
        streams: Streams,
    ) -> None:
        """Hold a session until cancelled."""
        retry = FIRST_RETRY
        async with self._channel() as channel:
            self._stub = nodes_pb2_grpc.NodesStub(channel)
            while True:
                opened = self._clock.monotonic()
                try:
                    await self._once(hello(), welcomed, assigned, streams)
                    log.info("session_ended")
                except grpc.aio.AioRpcError as error:
                    log.warning("session_lost code=%s details=%s", error.code().name, error.details())
                if self._clock.monotonic() - opened > MAX_RETRY:
                    retry = FIRST_RETRY
                await self._clock.sleep(jitter(retry))
                retry = min(retry * 2, MAX_RETRY)

    async def _once(self, hello: Any, welcomed: Any, assigned: Any, streams: Streams) -> None:
        interval: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        call = self._stub.Session(self._speak(hello, interval))
        async for message in call:
            kind = message.WhichOneof("message")
            if kind == "welcome":
                interval.set_result(message.welcome.heartbeatMillis / 1000)
                await welcomed(message.welcome)
                log.info("session_opened pod_cidr=%s", message.welcome.podCIDR)
            elif kind == "assignment":
                assigned(message.assignment)
            elif kind == "stream" and not message.stream.HasField("open"):
                streams.withdraw(message.stream.id)
            elif kind == "stream" and len(self._streams) < MAX_STREAMS * 2:
                busy = len(self._streams) >= MAX_STREAMS
                task = asyncio.ensure_future(streams.serve(self._stub, message.stream, busy=busy))
                self._streams.add(task)
                task.add_done_callback(self._streams.discard)

    async def _speak(self, hello: Any, interval: asyncio.Future[float]) -> AsyncIterator[Any]:
        yield nodes_pb2.NodeMessage(hello=hello)
        every = await interval
        while True:
            await self._clock.sleep(every)
            yield nodes_pb2.NodeMessage(heartbeat=nodes_pb2.Heartbeat())

    async def show(self, pods: Iterable[Any]) -> list[str]:
        """Have these static pods seen in the API and no others; returns what was refused. Raises as `report` does."""
        if self._stub is None:
            raise RuntimeError("not connected yet")
        answer = await self._stub.SyncMirrors(nodes_pb2.SyncMirrorsRequest(pods=pods), timeout=REPORT_WITHIN)
        return list(answer.refusals)

    async def report(self, request: nodes_pb2.ReportStatusRequest) -> None:
        """Raises grpc.aio.AioRpcError, or RuntimeError before there is a channel."""
        if self._stub is None:
            raise RuntimeError("not connected yet")
        await self._stub.ReportStatus(request, timeout=REPORT_WITHIN)
