"""The Cluster service: version, join tokens, and why a pod is where it is."""

from __future__ import annotations

from typing import Any

from controlplane import tokens
from controlplane.store import Store
from pinnace import __version__, kinds
from pinnace.api.v1 import cluster_pb2, cluster_pb2_grpc
from pinnace.clock import Clock
from pinnace.errors import BadRequest, NotFound


class Cluster(cluster_pb2_grpc.ClusterServicer):
    def __init__(self, store: Store, clock: Clock, scheduler: Any, *, ca_hash: str, join: str, backend: str) -> None:
        self._store = store
        self._clock = clock
        self._scheduler = scheduler
        self._ca_hash = ca_hash
        self._join = join
        self._backend = backend

    async def Version(self, request: cluster_pb2.VersionRequest, context: Any) -> cluster_pb2.VersionResponse:
        return cluster_pb2.VersionResponse(version=__version__, store=self._backend)

    async def CreateJoinToken(self, request: cluster_pb2.JoinTokenRequest, context: Any) -> cluster_pb2.JoinTokenResponse:
        ttl = request.ttlSeconds or tokens.DEFAULT_TTL
        if not 0 < ttl <= tokens.MAX_TTL:
            raise BadRequest(f"ttlSeconds must be from 1 to {tokens.MAX_TTL}")
        token, now = tokens.new(), self._clock.now()
        await self._store.update(lambda tx: tokens.keep(tx, token, now=now, ttl=ttl))
        return cluster_pb2.JoinTokenResponse(token=token, caHash=self._ca_hash, endpoint=self._join)

    async def Why(self, request: cluster_pb2.WhyRequest, context: Any) -> cluster_pb2.WhyResponse:
        key = kinds.POD.key(request.namespace or "default", request.pod)
        pod = self._store.get(kinds.POD, request.namespace or "default", request.pod)
        decision = self._scheduler.decisions.get(key)
        if decision is None or decision.pod.uid != pod.metadata.uid:
            if pod.spec.nodeName:
                return cluster_pb2.WhyResponse(
                    node=pod.spec.nodeName,
                    message="bound before this scheduler started, or by the user (spec.nodeName)",
                )
            raise NotFound(f'the scheduler has not tried pod "{request.pod}" yet')
        response = cluster_pb2.WhyResponse(
            node=decision.node, message=decision.message, attempts=self._scheduler.attempts(pod.metadata.uid)
        )
        for name in sorted({*decision.refusals, *decision.scores}):
            response.verdicts.add(node=name, reasons=decision.refusals.get(name, ()), scores=decision.scores.get(name, {}))
        return response
