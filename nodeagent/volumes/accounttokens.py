"""Tokens of a pod's service account, for its projected volumes: asked of the control plane, and renewed before they expire.

They are in memory and on the volume's tmpfs alone. A token is bound to the pod, so it ends with it.
Source: kubelet's token manager (pkg/kubelet/token): renewed after 80 % of the lifetime, or a day.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc

from nodeagent.volumes.content import VolumeError, token_key
from pinnace.authentication.v1.authentication_pb2 import TokenRequest
from pinnace.clock import Clock, jitter

log = logging.getLogger("pinnace.volumes")
# Part of its lifetime after which a token is renewed, and the age in seconds at which a long-lived one is.
SHARE, MAX_AGE = 0.8, 86_400.0
# Seconds between attempts to renew.
RETRY = 10.0

Create = Callable[[TokenRequest], Awaitable[TokenRequest]]
"""Asks the control plane. Raises AioRpcError, or RuntimeError before there is a connection."""


@dataclass(frozen=True, slots=True)
class _Token:
    """`renewal`: when to ask for the next, in seconds since the epoch."""

    text: str
    renewal: float


class PodTokens:
    """The tokens that one pod's volumes show, by `content.token_key`."""

    def __init__(self, create: Create, clock: Clock) -> None:
        self._create = create
        self._clock = clock
        self._tokens: dict[str, _Token] = {}

    def get(self, key: str) -> str | None:
        """May be called from any thread."""
        found = self._tokens.get(key)
        return found.text if found is not None else None

    async def renew(self, pod: Any) -> bool:
        """Ask for the tokens that are missing or due; returns whether there was one. Raises VolumeError."""
        renewed = False
        for source in sources(pod):
            key = token_key(source)
            found = self._tokens.get(key)
            if found is None or found.renewal <= self._clock.now():
                self._tokens[key] = await self._ask(pod, source)
                renewed = True
        return renewed

    async def keep(self, pod: Callable[[], Any], renewed: Callable[[], None]) -> None:
        """Renew tokens when they are due, until cancelled; `renewed` is called after that."""
        while True:
            due = min((token.renewal for token in self._tokens.values()), default=0.0)
            await self._clock.sleep(jitter(max(due - self._clock.now(), 0.0)))
            try:
                if await self.renew(pod()):
                    renewed()
            except VolumeError as error:
                log.warning("token_not_renewed pod=%s error=%s", pod().metadata.uid, error)
                await self._clock.sleep(jitter(RETRY))

    async def _ask(self, pod: Any, source: Any) -> _Token:
        """Raises VolumeError."""
        meta, request = pod.metadata, TokenRequest()
        request.metadata.name, request.metadata.namespace = pod.spec.serviceAccountName, meta.namespace
        if source.audience:
            request.spec.audiences.append(source.audience)
        request.spec.expirationSeconds = source.expirationSeconds
        ref = request.spec.boundObjectRef
        ref.apiVersion, ref.kind, ref.name, ref.uid = "v1", "Pod", meta.name, meta.uid
        begun = self._clock.now()
        try:
            answer = await self._create(request)
        except grpc.aio.AioRpcError as error:
            raise VolumeError(f"failed to fetch token: {error.details() or error.code().name}") from None
        except (RuntimeError, asyncio.InvalidStateError) as error:
            raise VolumeError(f"failed to fetch token: {error}") from None
        # By this node's clock, which may differ from the control plane's.
        return _Token(answer.status.token, begun + min(SHARE * answer.spec.expirationSeconds, MAX_AGE))


def sources(pod: Any) -> Iterator[Any]:
    """The projections of tokens in a pod's volumes."""
    for volume in pod.spec.volumes:
        for part in volume.volumeSource.projected.sources:
            if part.HasField("serviceAccountToken"):
                yield part.serviceAccountToken
