"""Tokens of a pod's service account, for its projected volumes: they come with the pod, or the control plane is asked for them,
and they are renewed before they expire.

They are in memory and on the volume's tmpfs alone. A token is bound to the pod, so it ends with it.
Source: kubelet's token manager (pkg/kubelet/token): renewed after 80 % of the lifetime, or a day.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc

from nodeagent.volumes.content import VolumeError
from pinnace import podtokens
from pinnace.api.v1.nodes_pb2 import PodToken
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
    """The tokens that one pod's volumes show, by `podtokens.key`."""

    def __init__(self, create: Create, clock: Clock) -> None:
        self._create = create
        self._clock = clock
        self._tokens: dict[str, _Token] = {}

    def get(self, key: str) -> str | None:
        """May be called from any thread."""
        found = self._tokens.get(key)
        return found.text if found is not None else None

    def take(self, tokens: Iterable[PodToken]) -> None:
        """Tokens that came with the pod."""
        for item in tokens:
            self._tokens[podtokens.key(item)] = _held(item.token, item.expirationSeconds, self._clock.now())

    async def renew(self, pod: Any) -> bool:
        """Ask for the tokens that are missing or due; returns whether there was one. Raises VolumeError."""
        renewed = False
        for source in podtokens.sources(pod):
            key = podtokens.key(source)
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
        begun = self._clock.now()
        try:
            answer = await self._create(podtokens.request(pod, source))
        except grpc.aio.AioRpcError as error:
            raise VolumeError(f"failed to fetch token: {error.details() or error.code().name}") from None
        except (RuntimeError, asyncio.InvalidStateError) as error:
            raise VolumeError(f"failed to fetch token: {error}") from None
        return _held(answer.status.token, answer.spec.expirationSeconds, begun)


def _held(token: str, lifetime: float, since: float) -> _Token:
    """`since` by this node's clock, which may differ from the control plane's."""
    return _Token(token, since + min(SHARE * lifetime, MAX_AGE))
