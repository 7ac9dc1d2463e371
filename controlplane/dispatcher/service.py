"""The Nodes service: sessions in, assignments out, reports to the store."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from controlplane import metrics
from controlplane.api import identity, verbs
from controlplane.dispatcher import mirrors, reports
from controlplane.dispatcher.assignment import NodeAssignment
from controlplane.dispatcher.streams import Switchboard
from controlplane.store import Store
from pinnace import pki
from pinnace.api.v1 import nodes_pb2, nodes_pb2_grpc
from pinnace.clock import Clock, Ids
from pinnace.errors import ApiError, BadRequest, Expired, Forbidden
from pinnace.rules import is_subdomain

log = logging.getLogger("pinnace.dispatcher")
# Changes in one message, so that none nears gRPC's 4 MiB: a Secret or ConfigMap may be 1 MiB.
MAX_CHANGE_BYTES = 2 << 20
MAX_OFFERS = 100
# Nodes in one transaction: each is up to three writes and four reads, and etcd takes 128 of either.
MAX_RENEWALS = 25


@dataclass(frozen=True, slots=True)
class Settings:
    """`heartbeat` and `grace` in seconds; `bits` is the prefix length of a node's pod range."""

    cluster_cidr: str
    bits: int
    heartbeat: float
    grace: float
    vni: int
    vxlan_port: int


@dataclass(slots=True)
class Connection:
    """One agent's session; `heard` since the leases were last written."""

    node: str
    offers: asyncio.Queue[nodes_pb2.StreamOffer] = field(default_factory=lambda: asyncio.Queue(MAX_OFFERS))
    heard: bool = True


class Nodes(nodes_pb2_grpc.NodesServicer):
    def __init__(self, store: Store, clock: Clock, ids: Ids, settings: Settings, ca: pki.Pair) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._ca = ca
        self._sessions: dict[str, Connection] = {}
        self._closing = asyncio.Event()
        self.switchboard = Switchboard(ids, self._offer)

    def _offer(self, node: str, offer: nodes_pb2.StreamOffer) -> bool:
        session = self._sessions.get(node)
        if session is None or session.offers.full():
            return False
        session.offers.put_nowait(offer)
        return True

    async def run(self) -> None:
        """Write the leases of the nodes that were heard since the last time, until cancelled."""
        while True:
            await self._clock.sleep(self._settings.heartbeat)
            heard = [session for session in self._sessions.values() if session.heard]
            for session in heard:
                session.heard = False
            await self._renew([session.node for session in heard])

    async def _renew(self, names: list[str]) -> None:
        if not names:
            return
        now, grace = self._clock.now(), self._settings.grace
        try:
            for start in range(0, len(names), MAX_RENEWALS):
                part = names[start : start + MAX_RENEWALS]
                await self._store.update(functools.partial(reports.renew, names=part, now=now, seconds=grace))
        except ApiError as error:
            log.warning("lease_renewal_failed nodes=%d error=%s", len(names), error)

    def close(self) -> None:
        """End every session, so that a stopping server does not wait for them."""
        self._closing.set()

    async def Session(self, messages: AsyncIterator[Any], context: Any) -> AsyncIterator[nodes_pb2.ControlMessage]:
        name = _caller(context)
        first = await anext(aiter(messages), None)
        if first is None or not first.HasField("hello"):
            raise BadRequest("a session begins with a hello")
        node = await self._register(name, first.hello)
        session = self._sessions[name] = Connection(name)
        metrics.sessions.set(len(self._sessions))
        log.info("session_opened node=%s", name)
        listener = asyncio.ensure_future(self._listen(session, messages))
        try:
            yield nodes_pb2.ControlMessage(welcome=self._welcome(node))
            async for message in self._speak(session, listener):
                yield message
        finally:
            listener.cancel()
            if self._sessions.get(name) is session:
                del self._sessions[name]
            metrics.sessions.set(len(self._sessions))
            log.info("session_closed node=%s", name)

    async def _register(self, name: str, hello: nodes_pb2.Hello) -> Any:
        wrong = is_subdomain(name)
        if wrong:
            raise BadRequest(f"the node name {wrong}")
        settings, now = self._settings, self._clock.now()

        def fn(tx: Any) -> Any:
            node = reports.register(tx, name, hello, cluster=settings.cluster_cidr, bits=settings.bits, ids=self._ids, now=now)
            reports.renew(tx, [name], now=now, seconds=settings.grace)
            return node

        return await self._store.update(fn)

    def _welcome(self, node: Any) -> nodes_pb2.Welcome:
        settings = self._settings
        return nodes_pb2.Welcome(
            podCIDR=node.spec.podCIDR,
            clusterCIDRs=[settings.cluster_cidr],
            heartbeatMillis=int(settings.heartbeat * 1000),
            vni=settings.vni,
            vxlanPort=settings.vxlan_port,
        )

    async def _listen(self, session: Connection, messages: AsyncIterator[Any]) -> None:
        async for message in messages:
            if message.HasField("heartbeat"):
                session.heard = True

    async def _speak(self, session: Connection, listener: asyncio.Future[None]) -> AsyncIterator[nodes_pb2.ControlMessage]:
        """Assignments and offers until the agent goes, another session of the node replaces this one, or we close."""
        assignment = NodeAssignment(session.node, self._store)
        rows, subscription = self._store.view_and_watch(None)
        closing = asyncio.ensure_future(self._closing.wait())
        offer: asyncio.Future[Any] = asyncio.ensure_future(session.offers.get())
        events: asyncio.Future[Any] = asyncio.ensure_future(subscription.next())
        try:
            revision = self._store.revision
            for message in _messages(assignment.start(rows), complete=True, applies=0, revision=revision):
                yield message
            while self._sessions.get(session.node) is session:
                done, _ = await asyncio.wait({offer, events, closing, listener}, return_when=asyncio.FIRST_COMPLETED)
                if closing in done or listener in done:
                    return
                if offer in done:
                    yield nodes_pb2.ControlMessage(stream=offer.result())
                    offer = asyncio.ensure_future(session.offers.get())
                if events in done:
                    batch = events.result()
                    events = asyncio.ensure_future(subscription.next())
                    changes, before = assignment.step(batch), revision
                    if changes:
                        revision = batch[-1].revision
                        for message in _messages(changes, complete=False, applies=before, revision=revision):
                            yield message
        except Expired:
            # The agent opens a new session and gets a complete assignment.
            log.warning("session_lagged node=%s", session.node)
        finally:
            for pending in (closing, offer, events):
                pending.cancel()
            subscription.close()

    async def ReportStatus(self, request: nodes_pb2.ReportStatusRequest, context: Any) -> nodes_pb2.ReportStatusResponse:
        name, now = _caller(context), self._clock.now()
        await self._store.update(lambda tx: reports.report(tx, name, request, now=now))
        return nodes_pb2.ReportStatusResponse()

    async def SyncMirrors(self, request: nodes_pb2.SyncMirrorsRequest, context: Any) -> nodes_pb2.SyncMirrorsResponse:
        name, pods = _caller(context), request.pods
        if len(pods) > mirrors.MAX_MIRRORS:
            raise BadRequest(f"a node shows at most {mirrors.MAX_MIRRORS} static pods")
        call = verbs.Call(self._clock.now(), self._ids, "nodeagent")
        # A transaction for each, so that one that is refused holds up no other.
        for mirror in self._store.view(lambda tx: mirrors.stale(tx, name, pods)):
            await self._store.update(functools.partial(mirrors.drop, node=name, mirror=mirror, call=call))
        refusals = [await self._store.update(functools.partial(mirrors.show, node=name, pod=pod, call=call)) for pod in pods]
        return nodes_pb2.SyncMirrorsResponse(refusals=filter(None, refusals))

    async def Carry(self, frames: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for frame in self.switchboard.node(_caller(context), aiter(frames)):
            yield frame

    async def RenewCertificate(
        self, request: nodes_pb2.RenewCertificateRequest, context: Any
    ) -> nodes_pb2.RenewCertificateResponse:
        user = identity.NODE_PREFIX + _caller(context)
        now = self._clock.now()
        certificate = pki.sign_csr(self._ca, request.csr, user, (identity.NODES,), now=now)
        return nodes_pb2.RenewCertificateResponse(certificate=certificate, ca=self._ca.certificate)


def _caller(context: Any) -> str:
    name = identity.of_call(context).node
    if not name:
        raise Forbidden("only a node's agent may call this")
    return name


def _messages(
    changes: list[nodes_pb2.Change], *, complete: bool, applies: int, revision: int
) -> list[nodes_pb2.ControlMessage]:
    """Changes in messages of bounded size. A complete assignment that does not fit in one goes on incrementally."""
    out: list[nodes_pb2.ControlMessage] = []
    batch: list[nodes_pb2.Change] = []
    size = 0
    for change in changes:
        if batch and size + change.ByteSize() > MAX_CHANGE_BYTES:
            out.append(_message(batch, complete=complete, applies=applies, revision=revision))
            batch, size, complete, applies = [], 0, False, revision
        batch.append(change)
        size += change.ByteSize()
    if batch or complete:
        out.append(_message(batch, complete=complete, applies=applies, revision=revision))
    return out


def _message(changes: list[nodes_pb2.Change], *, complete: bool, applies: int, revision: int) -> nodes_pb2.ControlMessage:
    assignment = nodes_pb2.Assignment(complete=complete, appliesTo=applies, revision=revision, changes=changes)
    return nodes_pb2.ControlMessage(assignment=assignment)
