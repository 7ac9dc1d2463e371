"""exec, attach, port-forward and logs of pods for the REST server: finds the node, switches protocols, and carries the stream.

Before the protocol is switched a refusal is an ApiError, which the REST server answers; afterwards everything is said in the
protocol that was agreed on, and nothing is raised. Whatever ends first, the client, the node or the server, ends the others:
no task, stream or process of an exec stays behind.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from controlplane import streamtargets
from controlplane.http.messages import Request, UpgradedConnection
from controlplane.rest.streams import commands, logs, options
from controlplane.rest.streams.channelforwards import ChannelForwards
from controlplane.rest.streams.connection import ClientConnection, Timeouts, first_of, forever
from controlplane.rest.streams.interface import NodeStream, StreamRequest, StreamRouter
from controlplane.rest.streams.negotiation import TUNNEL, Agreement, Transport, negotiate
from controlplane.rest.streams.options import CommandOptions
from controlplane.rest.streams.spdycommands import SpdyCommand
from controlplane.rest.streams.spdyforwards import SpdyForwards
from controlplane.rest.streams.websocketcommands import WebSocketCommand
from controlplane.rest.streams.websocketconnection import Tunnel, WebSocketConnection
from controlplane.store import Store
from pinnace import labclock
from pinnace.api.v1 import streams_pb2
from pinnace.clock import Clock
from pinnace.errors import NotFound

log = logging.getLogger("pinnace.rest.streams")
DEFAULTS = Timeouts()
Carry = Callable[[ClientConnection], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class StreamUpgrade:
    """A `controlplane.http.messages.Upgrade`, for which everything has been checked."""

    response: bytes
    carry: Carry

    async def serve(self, request: Request, connection: UpgradedConnection) -> None:
        """Switch protocols and carry the stream to its end. The caller closes the connection."""
        carried = ClientConnection(connection)
        try:
            await carried.write(self.response)
            await self.carry(carried)
        except OSError:
            log.debug("client_gone path=%s", request.path)
        except Exception:
            log.exception("stream_failed path=%s", request.path)


class StreamEndpoint:
    def __init__(self, store: Store, router: StreamRouter, clock: Clock, timeouts: Timeouts = DEFAULTS) -> None:
        self._store = store
        self._router = router
        self._clock = clock
        self._timeouts = timeouts

    async def logs(self, request: StreamRequest) -> AsyncGenerator[bytes, None]:
        """The log of a container as `logs.read` has it. Raises ApiError before the first chunk."""
        opening = options.log_opening(request, labclock.machine(self._clock).now())
        async with aclosing(logs.read(self._stream(opening, running=False))) as chunks:
            async for chunk in chunks:
                yield chunk

    def upgrade(self, request: StreamRequest) -> StreamUpgrade:
        """An exec, attach or port-forward that can begin. Raises ApiError."""
        agreed = negotiate(request)
        return StreamUpgrade(agreed.response, self._prepare(request, agreed))

    def _stream(self, opening: streams_pb2.OpenStream, *, running: bool) -> NodeStream:
        """Raises NotFound, BadRequest."""
        return NodeStream(self._router, streamtargets.locate(self._store, opening, running=running), opening)

    def _prepare(self, request: StreamRequest, agreed: Agreement) -> Carry:
        """How to carry the stream, once the pod's node is known. Raises ApiError."""
        if request.subresource == "portforward":
            return self._port_forward(request, agreed)
        if request.subresource not in ("exec", "attach"):
            raise NotFound(f"pods have no streams of kind {request.subresource}")
        chosen = options.command_options(request)
        making = options.exec_opening if request.subresource == "exec" else options.attach_opening
        command = _over_spdy if agreed.transport is Transport.SPDY else _over_websocket
        stream = self._stream(making(request, chosen), running=True)
        return functools.partial(command, protocol=agreed.protocol, stream=stream, chosen=chosen, times=self._timeouts)

    def _port_forward(self, request: StreamRequest, agreed: Agreement) -> Carry:
        """Raises ApiError."""
        if agreed.transport is Transport.SPDY:
            carry = _forward_spdy
        elif agreed.protocol == TUNNEL:
            carry = _forward_tunnel
        else:
            carry = functools.partial(_forward_channels, ports=options.ports(request))
        return functools.partial(carry, pod=self._stream(options.opening(request), running=True), times=self._timeouts)


async def _forward_spdy(connection: ClientConnection, pod: NodeStream, times: Timeouts) -> None:
    forwards = SpdyForwards(connection, pod, within=times.open)
    await first_of(forwards.run(), connection.watch(times.watch, forwards.connection.heartbeat))
    await forwards.connection.go_away()


async def _forward_tunnel(connection: ClientConnection, pod: NodeStream, times: Timeouts) -> None:
    websocket = WebSocketConnection(connection)
    forwards = SpdyForwards(Tunnel(websocket), pod, within=times.open)
    await first_of(forwards.run(), connection.watch(times.watch, websocket.heartbeat))
    await forwards.connection.go_away()
    await websocket.close()


async def _forward_channels(connection: ClientConnection, pod: NodeStream, times: Timeouts, ports: list[int]) -> None:
    websocket = WebSocketConnection(connection)
    forwards = ChannelForwards(websocket, pod, ports)
    run = _lingering(forwards.run(), connection, times.linger)
    await first_of(forwards.feed(), run, connection.watch(times.watch, websocket.heartbeat))


async def _over_spdy(
    connection: ClientConnection, protocol: str, stream: NodeStream, chosen: CommandOptions, times: Timeouts
) -> None:
    incoming = commands.CommandInput(chosen)
    command = SpdyCommand(connection, protocol, chosen, incoming)
    spdy = command.connection

    async def drive() -> None:
        try:
            await command.opened(times.open)
        except TimeoutError:
            return
        await _lingering(commands.run(stream, chosen, command, incoming), connection, times.linger)

    await first_of(spdy.run(), forever(command.feed()), drive(), connection.watch(times.watch, spdy.heartbeat))
    await spdy.go_away()


async def _over_websocket(
    connection: ClientConnection, protocol: str, stream: NodeStream, chosen: CommandOptions, times: Timeouts
) -> None:
    websocket = WebSocketConnection(connection)
    incoming = commands.CommandInput(chosen)
    command = WebSocketCommand(websocket, protocol, incoming)
    run = _lingering(commands.run(stream, chosen, command, incoming), connection, times.linger)
    await first_of(command.feed(), run, connection.watch(times.watch, websocket.heartbeat))


async def _lingering(work: Coroutine[Any, Any, None], connection: ClientConnection, seconds: float) -> None:
    """After the last byte the client has a moment to close: a connection that is closed first may lose what it has not read."""
    await work
    await connection.delivered()
    await asyncio.sleep(seconds)
