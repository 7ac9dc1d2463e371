"""The connection to the control plane: one session that is opened again whenever it ends.

The session carries assignments and stream requests down, heartbeats up. Reports and streams are calls of their own on the same
connection. Pods do not depend on it: without a control plane they keep running.

A renewed certificate needs a new connection. The new session is open before the old one ends, and the old connection is
closed when the last stream on it has ended, so that neither pods nor clients notice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from nodeagent.control.credentials import Credentials, Pair
from nodeagent.streams.service import Streams
from pinnace import cancellation, channels, pki, wire
from pinnace.api.v1 import nodes_pb2, nodes_pb2_grpc
from pinnace.authentication.v1.authentication_pb2 import TokenRequest
from pinnace.clock import Clock, jitter
from pinnace.errors import ApiError

log = logging.getLogger("pinnace.session")
# Seconds between tries, doubling; of a node that was refused, which only joining again helps; and for one report.
FIRST_RETRY, MAX_RETRY, REFUSED_RETRY = 0.1, 5.0, 60.0
REPORT_WITHIN = 20.0
# Seconds between heartbeats while the control plane waits for the agent to have applied an assignment.
SOON = 0.5
MAX_STREAMS = 200
_OPTIONS = (
    ("grpc.ssl_target_name_override", pki.SERVER_NAME),
    # Each connection is of its own certificate.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 8 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    *wire.KEEPALIVE,
    *wire.WINDOW,
)


@dataclass(frozen=True, slots=True)
class Events:
    """What a session tells the agent, and what it needs from it to begin."""

    hello: Callable[[], nodes_pb2.Hello]
    welcomed: Callable[[nodes_pb2.Welcome], Any]
    assigned: Callable[[nodes_pb2.Assignment], None]
    streams: Streams
    # The revision of the last assignment whose effects are complete.
    applied: Callable[[], int]
    # The clock may have been advanced.
    clock: Callable[[], None]
    # Of the node's static pods, as Heartbeat has them.
    static_namespaces: Callable[[], Iterable[str]]


@dataclass(slots=True, eq=False)
class _Received:
    """The session's assignment so far: the revision of the last message that this agent is to confirm soon. `error`: why
    this agent can send no more on it."""

    revision: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None

    def note(self, assignment: nodes_pb2.Assignment) -> None:
        """The first of a session tells what the node has lost meanwhile; one without a change asks for a confirmation."""
        if assignment.complete or not assignment.changes:
            self.revision = assignment.revision
            self.arrived.set()


@dataclass(slots=True, eq=False)
class _Connection:
    """The channel of a certificate, and how many calls and streams are under way on it. `welcomed`: a session is open."""

    pair: Pair
    channel: Any
    stub: Any
    calls: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    welcomed: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around a call: the channel stays open for it."""
        self.calls += 1
        self.idle.clear()
        try:
            yield
        finally:
            self.calls -= 1
            if not self.calls:
                self.idle.set()

    async def close(self) -> None:
        """Once nothing is under way: a channel that is closed cancels the tasks that wait for its calls."""
        if self.calls:
            await self.idle.wait()
        await self.channel.close()


class Session:
    def __init__(self, server: str, credentials: Credentials, clock: Clock) -> None:
        self._server = server
        self._credentials = credentials
        self._clock = clock
        self._renewed = asyncio.Event()
        self._connection: _Connection | None = None
        self._streams: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        # Sessions that have brought all of the assignment; two while one replaces the other.
        self._complete = 0
        # Of the sessions that there are.
        self._speaking: set[_Received] = set()

    @property
    def complete(self) -> bool:
        """There is a session, and what is known of the assignment is not of an earlier one."""
        return self._complete > 0

    def reconnect(self) -> None:
        """Move to a connection of the credentials that are there now."""
        self._renewed.set()

    def beat(self) -> None:
        """Send a heartbeat now: what it has is changed."""
        for received in self._speaking:
            received.arrived.set()

    async def run(self, events: Events) -> None:
        """Hold a session until cancelled. Raises errors of `events`; it may be called again then."""
        retry, task = FIRST_RETRY, None
        try:
            while True:
                opened = self._clock.monotonic()
                task = task or await self._open(events)
                if await self._ended_or_renewed(task):
                    refused, task = _outcome(task), None
                    if self._clock.monotonic() - opened > MAX_RETRY:
                        retry = FIRST_RETRY
                    await self._pause(REFUSED_RETRY if refused else retry)
                    retry = min(retry * 2, MAX_RETRY)
                else:
                    task = await self._move(task, events)
        finally:
            # No later run may use it: it is closed, or may be what failed.
            connection, self._connection = self._connection, None
            if task is not None:
                task.cancel()
            if cancellation.requested():
                await self._end(connection)
            else:
                self._retire(connection)

    async def _end(self, connection: _Connection | None) -> None:
        """The agent ends: nothing is waited for."""
        for closing in self._closing:
            closing.cancel()
        if connection is not None:
            await connection.channel.close()

    async def _ended_or_renewed(self, task: asyncio.Task[None]) -> bool:
        """Wait; True when the session has ended."""
        renewed = asyncio.ensure_future(self._renewed.wait())
        try:
            await asyncio.wait({task, renewed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            renewed.cancel()
        return task.done()

    async def _pause(self, seconds: float) -> None:
        """Until the next try. New credentials are tried at once."""
        waits = [asyncio.ensure_future(self._renewed.wait()), asyncio.ensure_future(self._clock.sleep(jitter(seconds)))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _open(self, events: Events) -> asyncio.Task[None]:
        """A session on the present connection, or on a new one when there is none or the files have changed: joining again
        replaces them."""
        while True:
            pair = self._load()
            if pair is not None and (self._connection is None or self._connection.pair != pair):
                self._retire(self._connection)
                self._connection = self._connect(pair)
            if self._connection is not None:
                return asyncio.ensure_future(self._hold(self._connection, events, None))
            await self._pause(MAX_RETRY)

    async def _move(self, old: asyncio.Task[None], events: Events) -> asyncio.Task[None]:
        """Open a session with the new credentials and then end the old one; returns the session that is open."""
        pair = self._load()
        if pair is None:
            return old
        connection = self._connect(pair)
        task = asyncio.ensure_future(self._hold(connection, events, old))
        welcomed = asyncio.ensure_future(connection.welcomed.wait())
        try:
            await asyncio.wait({task, welcomed}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            welcomed.cancel()
        if not connection.welcomed.is_set():
            self._retire(connection)
            _outcome(task)
            await self._clock.sleep(jitter(MAX_RETRY))
            self._renewed.set()
            return old
        self._retire(self._connection)
        self._connection = connection
        return task

    def _load(self) -> Pair | None:
        """The credentials that are there now; None when they cannot be read, and what is in memory has to do."""
        self._renewed.clear()
        try:
            return self._credentials.load()
        except (OSError, ApiError) as error:
            log.warning("credentials_unreadable error=%s", error)
            return None

    def _connect(self, pair: Pair) -> _Connection:
        credentials = grpc.ssl_channel_credentials(pair.ca, pair.key, pair.certificate)
        channel = channels.secure(self._server, credentials, _OPTIONS)
        return _Connection(pair, channel, nodes_pb2_grpc.NodesStub(channel))

    def _retire(self, connection: _Connection | None) -> None:
        if connection is not None:
            task = asyncio.ensure_future(connection.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _hold(self, connection: _Connection, events: Events, earlier: asyncio.Task[None] | None) -> None:
        """One session, to its end. It ends `earlier` when it is open. Raises AioRpcError, errors of `events`, and
        RuntimeError when the call was cancelled for another reason."""
        interval: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        received, complete = _Received(), False
        call = connection.stub.Session(self._speak(events, received, interval))
        self._speaking.add(received)
        try:
            async for message in call:
                kind = message.WhichOneof("message")
                if kind == "welcome":
                    # From here on no assignment of the earlier session may be applied.
                    if earlier is not None:
                        earlier.cancel()
                    connection.welcomed.set()
                    interval.set_result(message.welcome.heartbeatMillis / 1000)
                    events.clock()
                    await events.welcomed(message.welcome)
                    log.info("session_opened pod_cidr=%s", message.welcome.podCIDR)
                elif kind == "assignment":
                    events.assigned(message.assignment)
                    received.note(message.assignment)
                    # It has a revision once nothing follows.
                    self._complete += message.assignment.revision > 0 and not complete
                    complete = complete or message.assignment.revision > 0
                elif kind == "clock":
                    events.clock()
                    received.arrived.set()
                elif kind == "stream":
                    self._carry(connection, message.stream, events.streams)
        except asyncio.CancelledError:
            if cancellation.requested():
                raise
            raise received.error or RuntimeError("the call of the session was cancelled") from None
        finally:
            self._complete -= complete
            self._speaking.discard(received)
            call.cancel()

    def _carry(self, connection: _Connection, request: Any, streams: Streams) -> None:
        count = len(self._streams)
        if not request.HasField("open"):
            streams.withdraw(request.id)
        elif count < MAX_STREAMS * 2:
            task = asyncio.ensure_future(self._serve(connection, request, streams, busy=count >= MAX_STREAMS))
            self._streams.add(task)
            task.add_done_callback(self._streams.discard)

    async def _serve(self, connection: _Connection, request: Any, streams: Streams, *, busy: bool) -> None:
        with connection.call():
            await streams.serve(connection.stub, request, busy=busy)

    async def _speak(self, events: Events, received: _Received, interval: asyncio.Future[float]) -> AsyncIterator[Any]:
        try:
            yield nodes_pb2.NodeMessage(hello=events.hello())
            every = await interval
            while True:
                await self._clock.wait(received.arrived, min(every, SOON) if events.applied() < received.revision else every)
                received.arrived.clear()
                beat = nodes_pb2.Heartbeat(applied=events.applied(), staticNamespaces=events.static_namespaces())
                yield nodes_pb2.NodeMessage(heartbeat=beat)
        except Exception as error:
            # gRPC cancels the call, and keeps the reason to itself.
            received.error = error
            raise

    async def _call(self, method: str, request: Any) -> Any:
        """A unary call. Raises AioRpcError, or RuntimeError before there is a connection and when it is closed meanwhile."""
        connection = self._connection
        if connection is None:
            raise RuntimeError("not connected yet")
        with connection.call():
            try:
                return await getattr(connection.stub, method)(request, timeout=REPORT_WITHIN)
            except asyncio.CancelledError:
                if cancellation.requested():
                    raise
                raise RuntimeError("the connection was closed") from None

    async def show(self, pods: Iterable[Any]) -> list[str]:
        """Show these static pods in the API and no others; returns what was refused. Raises as `report` does."""
        answer = await self._call("SyncMirrors", nodes_pb2.SyncMirrorsRequest(pods=pods))
        return list(answer.refusals)

    async def report(self, request: nodes_pb2.ReportStatusRequest) -> None:
        """Raises grpc.aio.AioRpcError, or RuntimeError without a connection."""
        await self._call("ReportStatus", request)

    async def renew(self, csr: bytes) -> str:
        """A certificate for a signing request of this node. Raises as `report` does."""
        answer = await self._call("RenewCertificate", nodes_pb2.RenewCertificateRequest(csr=csr))
        return bytes(answer.certificate).decode("ascii", "replace")

    async def create_token(self, request: TokenRequest) -> TokenRequest:
        """A token of a pod's service account. Raises as `report` does."""
        answer: TokenRequest = await self._call("CreateToken", request)
        return answer


def _outcome(task: asyncio.Task[None]) -> bool:
    """Log how a session ended; True when the control plane does not accept the certificate. Raises what is no end of one."""
    try:
        task.result()
        log.info("session_ended")
    except grpc.aio.AioRpcError as error:
        log.warning("session_lost code=%s details=%s", error.code().name, error.details())
        return error.code() is grpc.StatusCode.UNAUTHENTICATED
    return False
