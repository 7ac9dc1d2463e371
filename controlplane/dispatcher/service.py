"""The Nodes service: sessions in, assignments out, reports to the store."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError

from controlplane import metrics
from controlplane.access import identity, nodeidentity
from controlplane.dispatcher import addresschecks, mirrors, reports
from controlplane.dispatcher.nodepolicies import accepted
from controlplane.dispatcher.podcidrs import PodCIDRs
from controlplane.dispatcher.podtokens import CreateToken, issue_for
from controlplane.dispatcher.renewals import Renewals
from controlplane.dispatcher.router import Router
from controlplane.dispatcher.sessions import AgentSession, Sessions
from controlplane.dispatcher.streams import Switchboard
from controlplane.requests import verbs
from controlplane.serviceranges import DNS_PLACE, ServiceRanges
from controlplane.store import Store, origin
from controlplane.turns import Turns
from pinnace import csr, labclock, nodenetwork, pki
from pinnace.api.v1 import nodes_pb2, nodes_pb2_grpc
from pinnace.authentication.v1.authentication_pb2 import TokenRequest
from pinnace.clock import Clock, Ids
from pinnace.errors import BadRequest, Conflict, Forbidden, Timeout, TooManyRequests, Unavailable
from pinnace.wellknown import LABEL_ZONE

log = logging.getLogger("pinnace.dispatcher")
# Seconds between checks for the heartbeats that agents were asked for.
ANSWERS = 0.01
# Objects in one report.
MAX_PARTS = 1000
# The agent sends a report again that failed so; of anything else, the object is dropped, or the agent would send it for ever.
_RETRYABLE = (Unavailable, Conflict, Timeout, TooManyRequests)


@dataclass(frozen=True, slots=True)
class Settings:
    """`heartbeat`, `grace` and the `lifetime` of a node's certificate in seconds; `api`: host and port at which pods reach the
    REST API, or an empty host; `services` and `domain`: ranges of Services, and the domain of their names in DNS; `encrypt`:
    nodes encrypt what they send to each other."""

    heartbeat: float
    grace: float
    vni: int
    vxlan_port: int
    lifetime: float = pki.NODE_LIFETIME
    api: tuple[str, int] = ("", 0)
    services: ServiceRanges = field(default_factory=ServiceRanges)
    domain: str = "cluster.local"
    encrypt: bool = False


class Nodes(nodes_pb2_grpc.NodesServicer):
    def __init__(
        self, store: Store, clock: Clock, ids: Ids, settings: Settings, *, ca: pki.Pair, cidrs: PodCIDRs,
        create_token: CreateToken,
    ) -> None:  # fmt: skip
        self._create_token = create_token
        self._store = store
        self._clock = clock
        self._machine = labclock.machine(clock)
        self._ids = ids
        self._settings = settings
        self._ca = ca
        self._cidrs = cidrs
        self._ranges = _ranges(settings, cidrs)
        self._router = Router(store, cidrs)
        self._sessions = Sessions(self._router)
        # The zone is a part of the welcome, and changes once in a node's life.
        self._router.zone_changed = self._sessions.renew
        self._renewals = Renewals(store, clock, self._sessions, heartbeat=settings.heartbeat, grace=settings.grace)
        # Shared by sessions and reports: many that begin or have something to send at once delay no user's request.
        self._turns = Turns()
        self.switchboard = Switchboard(ids, self._sessions.offer)

    async def run(self) -> None:
        """Follow the store, and renew the leases of the nodes that are heard, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._router.run(self._store, self._clock))
            group.create_task(self._renewals.run())

    async def clock_advanced(self) -> list[str]:
        """Tell the agents, and renew the leases of those that give a sign of life within the grace; returns the nodes of the
        others. Raises what the store raises."""
        told, until = self._sessions.tell_of_clock(), self._machine.monotonic() + self._settings.grace
        while any(session.asked and not session.ended for session in told) and self._machine.monotonic() < until:
            await self._machine.sleep(ANSWERS)
        with origin.acting("dispatcher"):
            await self._renewals.renew([session for session in told if not session.asked and not session.ended])
        return sorted(session.node for session in told if session.asked and not session.ended)

    def close(self) -> None:
        """End every session, so that a stopping server does not wait for them."""
        self._sessions.close_all()

    async def Session(self, messages: AsyncIterator[Any], context: Any) -> AsyncIterator[bytes]:
        """Yields serialized ControlMessages."""
        name = _caller(context)
        first = await anext(aiter(messages), None)
        if first is None or not first.HasField("hello"):
            raise BadRequest("a session begins with a hello")
        await self._turns.offer()
        node = await self._register(name, first.hello)
        caller = identity.of_call(context)
        session = AgentSession(name, caller.expires, issue_for(caller, self._create_token, self._clock))
        self._sessions.open(session)
        self._sessions.name(session, accepted(first.hello.staticNamespaces))
        log.info("session_opened node=%s", name)
        listener = asyncio.ensure_future(self._listen(session, messages))
        try:
            yield nodes_pb2.ControlMessage(welcome=self._welcome(node)).SerializeToString()
            await self._router.loaded.wait()
            self._sessions.start(session)
            async for message in self._speak(session):
                yield message
        finally:
            listener.cancel()
            self._sessions.close(session)
            log.info("session_closed node=%s", name)

    async def _register(self, name: str, hello: nodes_pb2.Hello) -> Any:
        settings, now = self._settings, self._clock.now()

        def fn(tx: Any) -> Any:
            node = reports.register(tx, name, hello, now=now, ranges=self._ranges)
            reports.renew(tx, [name], now=now, seconds=settings.grace)
            return node

        return await self._store.update(fn)

    def _welcome(self, node: Any) -> nodes_pb2.Welcome:
        settings = self._settings
        return nodes_pb2.Welcome(
            podCIDR=node.spec.podCIDR,
            podCIDRs=nodenetwork.pod_cidrs(node),
            clusterCIDRs=self._cidrs.clusters,
            heartbeatMillis=int(settings.heartbeat * 1000),
            vni=settings.vni,
            vxlanPort=settings.vxlan_port,
            encrypt=settings.encrypt,
            apiHost=settings.api[0],
            apiPort=settings.api[1],
            serviceCIDRs=[item.cidr for item in settings.services.addresses],
            clusterDNS=[item.at(DNS_PLACE) for item in settings.services.addresses],
            clusterDomain=settings.domain,
            nodePortRange=str(settings.services.ports),
            zone=node.metadata.labels.get(LABEL_ZONE, ""),
        )

    async def _listen(self, session: AgentSession, messages: AsyncIterator[Any]) -> None:
        """Heartbeats, until the agent ends its side or the connection is gone: then the session ends."""
        try:
            async for message in messages:
                if message.HasField("heartbeat"):
                    session.heard, session.asked = True, False
                    self._sessions.name(session, accepted(message.heartbeat.staticNamespaces))
                    self._router.applied(session.node, message.heartbeat.applied)
        except DecodeError:
            session.end(BadRequest("a message of the session cannot be read"))
        except Exception as error:
            log.info("session_broken node=%s error=%r", session.node, error)
        finally:
            session.end()

    async def _speak(self, session: AgentSession) -> AsyncIterator[bytes]:
        """Assignments and stream offers until the agent ends the session, a later session of the node replaces it, its
        certificate expires, or the control plane stops."""
        while True:
            session.wake.clear()
            await self._turns.offer()
            while (message := session.next()) is not None:
                yield message
                await self._turns.offer()
            if session.failure is not None:
                raise session.failure
            if session.ended:
                return
            await session.wake.wait()

    async def ReportStatus(self, request: nodes_pb2.ReportStatusRequest, context: Any) -> nodes_pb2.ReportStatusResponse:
        name, now = _caller(context), self._clock.now()
        if len(request.pods) + len(request.events) + len(request.volumes) > MAX_PARTS:
            raise BadRequest(f"a report has at most {MAX_PARTS} objects")
        found = [self._apply(name, part) for part in reports.parts(name, request, now=now, ranges=self._ranges)]
        failures = [error for error in await asyncio.gather(*found) if error is not None]
        if failures:
            raise failures[0]
        return nodes_pb2.ReportStatusResponse()

    async def _apply(self, node: str, part: reports.Part) -> Exception | None:
        """Apply one object of a report; returns the error for which the agent should send the report again."""
        await self._turns.offer()
        try:
            await self._store.update(part.apply)
        except _RETRYABLE as error:
            return error
        except Exception as error:
            metrics.reports_dropped.inc()
            log.warning("report_dropped node=%s subject=%s error=%r", node, part.subject[:500], error)
        return None

    async def SyncMirrors(self, request: nodes_pb2.SyncMirrorsRequest, context: Any) -> nodes_pb2.SyncMirrorsResponse:
        name, pods = _caller(context), request.pods
        if len(pods) > mirrors.MAX_MIRRORS:
            raise BadRequest(f"a node shows at most {mirrors.MAX_MIRRORS} static pods")
        call = verbs.Call(self._clock.now(), self._ids, "nodeagent")
        # A transaction for each, so that a refused one delays no other.
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
        _caller(context)
        caller, now, fresh = identity.of_call(context), self._machine.now(), self._ids.uid()
        asked = csr.SigningRequest.parse(request.csr, caller.user, caller.groups)
        uid = await self._store.update(lambda tx: nodeidentity.reissue(tx, caller, key_hash=asked.key_hash, uid=fresh, now=now))
        certificate = asked.sign(self._ca, now=now, lifetime=self._settings.lifetime, uid=uid)
        return nodes_pb2.RenewCertificateResponse(certificate=certificate, ca=self._ca.certificate)

    async def CreateToken(self, request: TokenRequest, context: Any) -> TokenRequest:
        _caller(context)
        return self._create_token(request, identity.of_call(context), now=self._clock.now())


def _ranges(settings: Settings, cidrs: PodCIDRs) -> addresschecks.Ranges:
    """Of pods and Services, where no node has an address."""
    services = {item.cidr: "Service CIDR" for item in settings.services.addresses}
    return {**dict.fromkeys(cidrs.clusters, "pod CIDR"), **services}


def _caller(context: Any) -> str:
    name = identity.of_call(context).node
    if not name:
        raise Forbidden("only a node's agent may call this")
    return name
