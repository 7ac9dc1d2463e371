"""Renewal and the session, against a control plane of a few lines with real TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from nodeagent.control import keys
from nodeagent.control.credentials import Credentials
from nodeagent.control.renewal import Endpoint, Renewal
from nodeagent.control.session import Events, Session
from nodeagent.node import supervisor
from pinnace import csr, pki
from pinnace.api.v1 import nodes_pb2, nodes_pb2_grpc, streams_pb2
from pinnace.clock import Clock, SystemClock, VirtualClock
from tests.support.labs import PATIENCE
from tests.support.proxy import through_proxy

NODE = ("system:node:n1", ("system:nodes",))
CA = pki.new_ca(time.time())


class Control(nodes_pb2_grpc.NodesServicer):
    """Welcomes sessions, carries one stream for each, and signs what it is asked to."""

    def __init__(self, clock: Clock, lifetime: float = 600.0) -> None:
        self.clock = clock
        self.lifetime = lifetime
        self.log: list[str] = []
        self.sessions = 0
        self.open: set[int] = set()
        self.refuse: grpc.StatusCode | None = None
        # Milliseconds.
        self.heartbeat = 50
        self.streams: dict[str, asyncio.Queue[Any]] = {}
        self.offers: asyncio.Queue[nodes_pb2.ControlMessage] = asyncio.Queue()
        self.peers: list[bytes] = []
        # What the agent's heartbeats say.
        self.applied: list[int] = []
        self.named: list[list[str]] = []
        # Ends the sessions that are open and those that are opened.
        self.end = asyncio.Event()
        # Reports that have come, and what their answers wait for.
        self.reports = 0
        self.answer = asyncio.Event()
        self.answer.set()

    async def Session(self, messages: Any, context: Any) -> AsyncIterator[nodes_pb2.ControlMessage]:
        if self.refuse is not None:
            self.log.append("refused")
            await context.abort(self.refuse, "no")
        self.sessions += 1
        number = self.sessions
        self.peers.append(context.auth_context()["x509_pem_cert"][0])
        self.log.append(f"open {number}")
        self.open.add(number)
        heard = asyncio.ensure_future(self._hear(messages))
        try:
            yield nodes_pb2.ControlMessage(
                welcome=nodes_pb2.Welcome(podCIDR=f"10.0.{number}.0/24", heartbeatMillis=self.heartbeat)
            )
            while not self.end.is_set():
                message = None
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        message = await self.offers.get()
                if message is not None:
                    yield message
        finally:
            heard.cancel()
            self.open.discard(number)
            self.log.append(f"closed {number}")

    async def _hear(self, messages: Any) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.CancelledError):
            async for message in messages:
                if message.HasField("heartbeat"):
                    self.applied.append(message.heartbeat.applied)
                    self.named.append(list(message.heartbeat.staticNamespaces))

    async def Carry(self, frames: Any, context: Any) -> AsyncIterator[Any]:
        first = await anext(aiter(frames))
        queue = self.streams[first.id] = asyncio.Queue()
        while (frame := await queue.get()) is not None:
            yield frame

    async def ReportStatus(self, request: Any, context: Any) -> Any:
        self.reports += 1
        await self.answer.wait()
        return nodes_pb2.ReportStatusResponse()

    async def RenewCertificate(self, request: Any, context: Any) -> Any:
        if self.refuse is not None:
            await context.abort(self.refuse, "no")
        asked = csr.SigningRequest.parse(request.csr, *NODE)
        return nodes_pb2.RenewCertificateResponse(certificate=asked.sign(CA, now=self.clock.now(), lifetime=self.lifetime))


class Carrier:
    """The agent's streams: each waits for its end."""

    def __init__(self) -> None:
        self.running: set[str] = set()

    async def serve(self, stub: Any, offer: Any, *, busy: bool) -> None:
        self.running.add(offer.id)

        async def frames() -> AsyncIterator[Any]:
            yield streams_pb2.Frame(id=offer.id)
            await asyncio.Event().wait()

        call = stub.Carry(frames())
        try:
            async for _ in call:
                pass
        finally:
            call.cancel()
            self.running.discard(offer.id)

    def withdraw(self, id_: str) -> None:
        pass


class Agent:
    """A session and what it was told."""

    def __init__(self, address: str, folder: Path, clock: Clock) -> None:
        self.credentials = Credentials(folder)
        self.carrier = Carrier()
        self.welcomes: list[str] = []
        self.assigned: list[nodes_pb2.Assignment] = []
        self.applied = 0
        # By the name of a callback: what its next call raises.
        self.failures: dict[str, Exception] = {}
        self.static_namespaces: tuple[str, ...] = ()
        self.clocks = 0
        self.session = Session(address, self.credentials, clock)
        self.renewal = Renewal(
            self.credentials, Endpoint("n1", ""), clock, ask=self.session.renew, renewed=self.session.reconnect
        )
        self.clock = clock

    async def run(self) -> None:
        """As the agent does, again whenever it fails."""
        events = Events(
            self._hello, self._welcomed, self.assigned.append, self.carrier, self._applied, self._clock,  # type: ignore[arg-type]
            self._static_namespaces,
        )  # fmt: skip
        await supervisor.keep("session", lambda: self.session.run(events), self.clock)

    def _fail(self, name: str) -> None:
        if name in self.failures:
            raise self.failures.pop(name)

    def _hello(self) -> nodes_pb2.Hello:
        self._fail("hello")
        return nodes_pb2.Hello()

    async def _welcomed(self, welcome: Any) -> None:
        self._fail("welcomed")
        self.welcomes.append(welcome.podCIDR)

    def _applied(self) -> int:
        self._fail("applied")
        return self.applied

    def _static_namespaces(self) -> tuple[str, ...]:
        self._fail("static_namespaces")
        return self.static_namespaces

    def _clock(self) -> None:
        self.clocks += 1


def store(folder: Path, *, now: float, lifetime: float = 600.0) -> bytes:
    """A certificate of the node in its files."""
    made, request = Credentials(folder), keys.make("n1")
    made.keep_pending(request.key)
    pem = csr.SigningRequest.parse(request.csr, *NODE).sign(CA, now=now, lifetime=lifetime)
    made.accept(pem.decode(), ca=CA.certificate)
    return pem


@asynccontextmanager
async def connected(
    folder: Path, clock: Clock | None = None, lifetime: float = 600.0, heartbeat: int = 50
) -> AsyncIterator[tuple[Control, Agent]]:
    clock = clock or SystemClock()
    control = Control(clock, lifetime)
    control.heartbeat = heartbeat
    server = grpc.aio.server()
    nodes_pb2_grpc.add_NodesServicer_to_server(control, server)
    pair = pki.issue(CA, pki.SERVER_NAME, (), now=time.time(), hosts=(pki.SERVER_NAME,))
    credentials = grpc.ssl_server_credentials([(pair.key, pair.certificate)], CA.certificate, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    store(folder, now=time.time(), lifetime=lifetime)
    agent = Agent(f"127.0.0.1:{port}", folder, clock)
    task = asyncio.ensure_future(agent.run())
    try:
        await until(lambda: agent.welcomes)
        yield control, agent
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.stop(0)


async def until(check: Any, within: float = 10.0) -> None:
    async with asyncio.timeout(within * PATIENCE):
        while not check():
            await asyncio.sleep(0.01)


async def test_the_new_session_is_open_before_the_old_one_ends(tmp_path: Path) -> None:
    """With the new certificate; the agent never is without a session."""
    async with connected(tmp_path) as (control, agent):
        new = store(tmp_path, now=time.time())
        agent.session.reconnect()
        await until(lambda: control.open == {2})
        assert control.log == ["open 1", "open 2", "closed 1"]
        assert agent.welcomes == ["10.0.1.0/24", "10.0.2.0/24"]
        assert control.peers[1].strip() == new.strip()


async def test_the_agent_reaches_the_control_plane_without_the_proxy_of_image_pulls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with through_proxy("127.0.0.1:1", monkeypatch) as proxy:
        async with connected(tmp_path) as (_, agent):
            await agent.session.report(nodes_pb2.ReportStatusRequest())
        assert proxy.asked == []


async def test_an_assignment_is_complete_when_nothing_follows(tmp_path: Path) -> None:
    """And no longer once its session has ended."""
    async with connected(tmp_path) as (control, agent):
        for revision, complete in ((0, False), (7, True), (8, True)):
            message = nodes_pb2.Assignment(complete=not revision, following=[] if revision else ["Service/default/web"])
            message.revision, count = revision, len(agent.assigned)
            await control.offers.put(nodes_pb2.ControlMessage(assignment=message))
            await until(lambda count=count: len(agent.assigned) > count)
            assert agent.session.complete is complete
        control.end.set()
        await until(lambda: not agent.session.complete)


async def test_a_stream_ends_on_the_connection_that_it_began_on(tmp_path: Path) -> None:
    """Several renewals later; then the connection is closed."""
    async with connected(tmp_path) as (control, agent):
        await control.offers.put(nodes_pb2.ControlMessage(stream=nodes_pb2.StreamOffer(id="s", open=streams_pb2.OpenStream())))
        await until(lambda: "s" in control.streams)
        for number in (2, 3):
            store(tmp_path, now=time.time())
            agent.session.reconnect()
            await until(lambda number=number: control.open == {number})
        assert agent.carrier.running == {"s"}
        await control.streams["s"].put(None)
        await until(lambda: not agent.carrier.running)
        await agent.session.report(nodes_pb2.ReportStatusRequest())


async def test_a_move_that_fails_keeps_the_old_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again."""
    monkeypatch.setattr("nodeagent.control.session.MAX_RETRY", 0.1)
    async with connected(tmp_path) as (control, agent):
        control.refuse = grpc.StatusCode.UNAVAILABLE
        agent.session.reconnect()
        await until(lambda: control.log.count("refused") >= 2)
        assert control.open == {1}
        await agent.session.report(nodes_pb2.ReportStatusRequest())
        control.refuse = None
        await until(lambda: control.open == {2})


@pytest.mark.parametrize("damage", ["missing", "garbage", "two CAs"])
async def test_damaged_files_neither_end_the_agent_nor_the_session(damage: str, tmp_path: Path) -> None:
    """What it has in memory serves, and good files are taken when they are there."""
    async with connected(tmp_path) as (control, agent):
        path = tmp_path / "ca.crt"
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(b"garbage" if damage == "garbage" else CA.certificate + CA.certificate)
        agent.session.reconnect()
        await asyncio.sleep(0.2)
        assert control.open == {1}
        store(tmp_path, now=time.time())
        agent.session.reconnect()
        await until(lambda: control.open == {2})


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE])
async def test_an_agent_without_a_session_takes_the_files_of_a_new_join(
    code: grpc.StatusCode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a restart, whether it was refused or there was nobody to refuse it."""
    monkeypatch.setattr("nodeagent.control.session.REFUSED_RETRY", 0.2)
    async with connected(tmp_path) as (control, _):
        control.refuse = code
        control.end.set()
        await until(lambda: "refused" in control.log)
        control.end.clear()
        new = store(tmp_path, now=time.time())
        control.refuse = None
        await until(lambda: control.peers[-1].strip() == new.strip())


async def test_certificates_are_renewed_again_and_again(tmp_path: Path) -> None:
    """With certificates of two seconds, for eight seconds: there is a session all the time."""
    async with connected(tmp_path, lifetime=2.0 * PATIENCE) as (control, agent):
        task = asyncio.ensure_future(agent.renewal.run())
        began = time.monotonic()
        while time.monotonic() - began < 8 * PATIENCE:
            assert control.open
            await agent.session.report(nodes_pb2.ReportStatusRequest())
            await asyncio.sleep(0.05)
        assert len(set(control.peers)) >= 4
        task.cancel()


class Ask:
    """A control plane for `Renewal` alone: signs, or fails."""

    def __init__(self, clock: VirtualClock, lifetime: float) -> None:
        self.clock, self.lifetime = clock, lifetime
        self.error: Exception | None = None
        self.times: list[float] = []
        self.requests: list[bytes] = []

    async def __call__(self, request: bytes) -> str:
        self.times.append(self.clock.now())
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        return csr.SigningRequest.parse(request, *NODE).sign(CA, now=self.clock.now(), lifetime=self.lifetime).decode()


async def make(node: str, *, old: bytes, key: bytes) -> keys.Request:
    """In this process, and so in no time."""
    return keys.make(node, old=old, key=key)


def renewal(folder: Path, clock: VirtualClock, ask: Ask, *, address: str = "") -> tuple[asyncio.Task[None], list[float]]:
    """One that runs, and when it renewed."""
    renewed: list[float] = []
    endpoint = Endpoint("n1", address)
    made = Renewal(Credentials(folder), endpoint, clock, ask=ask, renewed=lambda: renewed.append(clock.now()), make=make)
    return asyncio.ensure_future(made.run()), renewed


async def test_renewal_comes_after_two_thirds_and_not_for_all_at_once(tmp_path: Path) -> None:
    """A day's certificate: between 16 and 20 hours, for the agents of a cluster at different times."""
    clock, gaps = VirtualClock(time.time()), []
    for number in range(8):
        folder, ask = tmp_path / str(number), Ask(clock, pki.DAY)
        store(folder, now=clock.now(), lifetime=pki.DAY)
        start = clock.now()
        task, renewed = renewal(folder, clock, ask)
        for _ in range(3 * 24 * 4):
            await clock.advance(900)
        task.cancel()
        assert 3 <= len(renewed) <= 5
        gaps += [later - earlier for earlier, later in zip([start, *renewed], renewed, strict=False)]
    assert all(15.9 * 3600 <= gap <= 20.3 * 3600 for gap in gaps)
    assert max(gaps) - min(gaps) > 1800


async def test_a_renewal_that_fails_is_repeated_with_the_same_key_and_longer_pauses(tmp_path: Path) -> None:
    """The control plane may have answered. It does not have to be asked all the time, and recovers at once."""
    clock = VirtualClock(time.time())
    ask = Ask(clock, pki.DAY)
    ask.error = RuntimeError("not connected yet")
    store(tmp_path, now=clock.now(), lifetime=pki.DAY)
    task, renewed = renewal(tmp_path, clock, ask)
    for _ in range(22 * 60):
        await clock.advance(60)
    pauses = [later - earlier for earlier, later in zip(ask.times, ask.times[1:], strict=False)]
    assert 10 < len(pauses) < 80
    assert max(pauses) <= 300 * 1.2 + 60
    assert len({csr.SigningRequest.parse(request, *NODE).key_hash for request in ask.requests}) == 1
    ask.error = None
    for _ in range(10):
        await clock.advance(60)
    assert len(renewed) == 1
    task.cancel()


async def test_the_node_returns_soon_after_a_control_plane_that_was_off_for_long(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Failed attempts before the certificate expired do not make the pauses after it long."""
    clock = VirtualClock(time.time())
    store(tmp_path, now=clock.now(), lifetime=600.0)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ask = Ask(clock, 600.0)
        ask.error = RuntimeError("not connected")
        task, _ = renewal(tmp_path, clock, ask, address=f"127.0.0.1:{closed.getsockname()[1]}")
        tried: list[float] = []
        for _ in range(1200):
            async with asyncio.timeout(10 * PATIENCE):
                # An attempt takes a thread's time, which the clock does not know.
                while not clock.sleepers:
                    await asyncio.sleep(0.001)
            await clock.advance(1)
            if caplog.text.count("cannot reach") > len(tried):
                tried.append(clock.now())
    assert max(later - earlier for earlier, later in zip([clock.now() - 600, *tried], tried, strict=False)) < 20
    assert 40 < len(tried) < 100
    assert ask.times
    task.cancel()


async def test_an_expired_certificate_without_an_endpoint_says_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a node that joined before there was one; the agent goes on trying and does not end."""
    clock = VirtualClock(time.time())
    store(tmp_path, now=clock.now(), lifetime=600.0)
    await clock.advance(700)
    task, _ = renewal(tmp_path, clock, Ask(clock, 600.0))
    for _ in range(30):
        await clock.advance(60)
    assert "kctl node join-command n1" in caplog.text
    assert 5 <= caplog.text.count("certificate_renewal_failed") < 30
    assert not task.done()
    task.cancel()


async def test_the_agent_confirms_what_it_has_applied_without_waiting_for_a_heartbeat(tmp_path: Path) -> None:
    """A complete assignment, and an empty message, which asks for it; again until it has taken effect."""
    async with connected(tmp_path) as (control, agent):
        control.heartbeat = 3_600_000
        control.end.set()
        await until(lambda: control.sessions > 1)
        control.end.clear()
        await until(lambda: control.open)
        control.applied.clear()
        agent.applied = 6
        await control.offers.put(nodes_pb2.ControlMessage(assignment={"complete": True, "revision": 7}))
        await until(lambda: control.applied[1:] == [6])
        agent.applied = 7
        await until(lambda: 7 in control.applied)
        agent.applied = 9
        await control.offers.put(nodes_pb2.ControlMessage(assignment={"revision": 9}))
        await until(lambda: 9 in control.applied)


async def test_a_heartbeat_is_sent_at_once_when_static_pods_have_changed(tmp_path: Path) -> None:
    """With the namespaces that there are now."""
    async with connected(tmp_path, heartbeat=3_600_000) as (control, agent):
        agent.static_namespaces = ("db", "shop")
        agent.session.beat()
        await until(lambda: control.named and control.named[-1] == ["db", "shop"])


@pytest.mark.parametrize("name", ["hello", "welcomed", "applied", "static_namespaces"])
async def test_a_session_that_fails_in_the_agent_is_opened_again(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a new connection, and with the reason in the log."""
    monkeypatch.setattr("nodeagent.node.supervisor.FIRST_RETRY", 0.05)
    async with connected(tmp_path) as (control, agent):
        agent.failures[name] = OSError("the disk is full")
        if name in ("hello", "welcomed"):
            control.end.set()
            await until(lambda: not agent.failures)
            control.end.clear()
        await until(lambda: not agent.failures)
        count = len(agent.welcomes)
        await until(lambda: len(agent.welcomes) > count)
        await until(lambda: control.open == {control.sessions})
        await agent.session.report(nodes_pb2.ReportStatusRequest())
    assert "OSError: the disk is full" in caplog.text


async def test_streams_and_reports_continue_on_the_connection_of_a_session_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodeagent.node.supervisor.FIRST_RETRY", 0.05)
    async with connected(tmp_path) as (control, agent):
        await control.offers.put(nodes_pb2.ControlMessage(stream=nodes_pb2.StreamOffer(id="s", open=streams_pb2.OpenStream())))
        await until(lambda: "s" in control.streams)
        control.answer.clear()
        report = asyncio.ensure_future(agent.session.report(nodes_pb2.ReportStatusRequest()))
        await until(lambda: control.reports)
        agent.failures["applied"] = OSError("the disk is full")
        await until(lambda: control.open == {2})
        assert agent.carrier.running == {"s"}
        control.answer.set()
        await report
        await control.streams["s"].put(None)
        await until(lambda: not agent.carrier.running)


async def test_a_report_fails_when_its_connection_is_closed(tmp_path: Path) -> None:
    """It is no cancellation of the task that reports."""
    async with connected(tmp_path) as (control, agent):
        control.answer.clear()
        report = asyncio.ensure_future(agent.session.report(nodes_pb2.ReportStatusRequest()))
        await until(lambda: control.reports)
        connection = agent.session._connection
        assert connection is not None
        await connection.channel.close()
        with pytest.raises(RuntimeError, match="the connection was closed"):
            await report
        control.answer.set()
