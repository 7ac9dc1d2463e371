"""The Cluster service: version, join tokens, and why a pod is where it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controlplane import tokens
from controlplane.access import identity
from controlplane.labtime import LabTime
from controlplane.rpc.permissions import Permissions
from controlplane.scheduler.deferred import DeferredScheduler
from controlplane.store import Store
from pinnace import __version__, certificate, csr, kinds, labclock, nodename, pki
from pinnace.api.v1 import cluster_pb2, cluster_pb2_grpc
from pinnace.clock import Clock
from pinnace.errors import BadRequest, NotFound
from pinnace.wellknown import SYSTEM_NAMESPACE

# The path that stands for a new certificate of the caller's own, for authorization: by default administrators alone get one.
RENEWAL = "/renew"
# The same for an advance of the clock.
CLOCK = "/clock"


@dataclass(frozen=True, slots=True)
class Signer:
    """The CA, and the lifetime in seconds of the certificates that it gives to users."""

    ca: pki.Pair
    lifetime: float


class Cluster(cluster_pb2_grpc.ClusterServicer):
    def __init__(
        self, store: Store, clock: Clock, scheduler: DeferredScheduler, permissions: Permissions,
        *, time: LabTime, signer: Signer, join: str, backend: str,
    ) -> None:  # fmt: skip
        """`join` is the endpoint that hosts join at."""
        self._may = permissions
        self._store = store
        self._clock = clock
        self._scheduler = scheduler
        self._time = time
        self._signer = signer
        self._ca_hash = certificate.fingerprint(signer.ca.certificate)
        self._join = join
        self._backend = backend

    async def Version(self, request: cluster_pb2.VersionRequest, context: Any) -> cluster_pb2.VersionResponse:
        self._may.at("get", "/version")
        return cluster_pb2.VersionResponse(version=__version__, store=self._backend, clock=self._clock_state())

    def _clock_state(self) -> cluster_pb2.Clock:
        time = self._time
        return cluster_pb2.Clock(now=time.now, offset=time.offset, adjustable=time.adjustable)

    async def AdvanceClock(self, request: cluster_pb2.AdvanceClockRequest, context: Any) -> cluster_pb2.AdvanceClockResponse:
        self._may.at("post", CLOCK)
        silent = await self._time.advance(request.seconds)
        return cluster_pb2.AdvanceClockResponse(clock=self._clock_state(), silent=silent)

    async def CheckStore(self, request: cluster_pb2.CheckStoreRequest, context: Any) -> cluster_pb2.CheckStoreResponse:
        self._may.at("get", "/debug/store")
        damage = await self._store.damage()
        response = cluster_pb2.CheckStoreResponse(truncated=damage.truncated, file=damage.file)
        for state, keys in (("Quarantined", damage.quarantined), ("Unreadable", damage.unreadable)):
            for key in keys:
                response.objects.add(key=key, state=state)
        return response

    async def CreateJoinToken(self, request: cluster_pb2.JoinTokenRequest, context: Any) -> cluster_pb2.JoinTokenResponse:
        self._may.on("create", kinds.SECRET, namespace=SYSTEM_NAMESPACE)
        ttl = request.ttlSeconds or tokens.DEFAULT_TTL
        if not 0 < ttl <= tokens.MAX_TTL:
            raise BadRequest(f"ttlSeconds must be from 1 to {tokens.MAX_TTL}")
        token, node, now = tokens.new(), request.node, self._clock.now()
        if node:
            nodename.check(node)
        await self._store.update(lambda tx: tokens.keep(tx, token, now=now, ttl=ttl, node=node))
        return cluster_pb2.JoinTokenResponse(token=token, caHash=self._ca_hash, endpoint=self._join)

    async def RenewClientCertificate(
        self, request: cluster_pb2.RenewClientCertificateRequest, context: Any
    ) -> cluster_pb2.RenewClientCertificateResponse:
        self._may.at("post", RENEWAL)
        caller = identity.of_call(context)
        asked = csr.SigningRequest.parse(request.csr, caller.user, caller.groups)
        now = labclock.machine(self._clock).now()
        signed = asked.sign(self._signer.ca, now=now, lifetime=self._signer.lifetime, uid=caller.uid)
        return cluster_pb2.RenewClientCertificateResponse(certificate=signed)

    async def Why(self, request: cluster_pb2.WhyRequest, context: Any) -> cluster_pb2.WhyResponse:
        namespace = request.namespace or "default"
        self._may.on("get", kinds.POD, namespace=namespace, name=request.pod)
        pod = self._store.get(kinds.POD, namespace, request.pod)
        if pod.spec.schedulingGates:
            gates = " ".join(gate.name for gate in pod.spec.schedulingGates)
            text = f"waiting for scheduling gates: [{gates}] (their controllers remove them from spec.schedulingGates)"
            return cluster_pb2.WhyResponse(message=text)
        found = self._scheduler.explain(namespace, request.pod, pod.metadata.uid)
        if found is None:
            if pod.spec.nodeName:
                return cluster_pb2.WhyResponse(
                    node=pod.spec.nodeName,
                    message="bound before this scheduler started, or by the user (spec.nodeName)",
                )
            raise NotFound(f'the scheduler has not tried pod "{request.pod}" yet')
        decision = found.decision
        message = decision.message if decision.node else f"{decision.message} ({found.next_attempt})"
        response = cluster_pb2.WhyResponse(node=decision.node, message=message, attempts=found.attempts)
        for verdict in found.verdicts:
            response.verdicts.add(node=verdict.node, reasons=verdict.reasons, scores=verdict.scores or {})
        return response
