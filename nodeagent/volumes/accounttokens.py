"""Tokens of a pod's service account, for its projected volumes.

    with the pod's assignment ─────────────────────────┐
    from volumes that an earlier agent made (`resume`) ─┼─► PodTokens ─► files of the volumes
    from the control plane: missing or due ones ────────┘

They are in memory and on the volume's tmpfs alone. A token stays until there is another, also when it has expired, so no
container waits for a renewal. Only a missing token delays a pod: for `PATIENCE`, or while the control plane refuses it.
Source: kubelet's token manager (pkg/kubelet/token): renewed after 80 % of the lifetime, or a day.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import grpc

from pinnace import podtokens
from pinnace.api.v1.nodes_pb2 import PodToken
from pinnace.authentication.v1.authentication_pb2 import TokenRequest
from pinnace.clock import Clock, jitter

log = logging.getLogger("pinnace.volumes")
# Part of its lifetime after which a token is renewed, and the age in seconds at which a long-lived one is; or up to a sixth
# sooner, so that pods that started together do not ask together.
SHARE, MAX_AGE = 0.8, 86_400.0
# Seconds between attempts that fail: the first, doubling up to the last.
FIRST_RETRY, MAX_RETRY = 1.0, 300.0
# Seconds that a pod waits for a missing token before it starts without; an agent that starts is connected within a second.
PATIENCE = 5.0
# Seconds between looks at the wall clock, which advances while a machine is suspended, unlike the clock that sleepers wait for.
LOOK = 60.0
# The event of a pod that has no token, or an old one.
REASON = "FailedToRetrieveServiceAccountToken"
# Answers of a control plane that will not give the token: retrying helps only if something changes there.
_REFUSALS = frozenset(
    (
        grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ABORTED,
    )
)  # fmt: skip

Create = Callable[[TokenRequest], Awaitable[TokenRequest]]
"""Asks the control plane. Raises AioRpcError, or RuntimeError before there is a connection."""


@dataclass(frozen=True, slots=True)
class Lack:
    """A token that a volume lacks, and why. `until`: when the pod starts without it, in seconds since the epoch; None: not
    while the control plane refuses it."""

    volume: str
    why: str
    until: float | None


@dataclass(frozen=True, slots=True)
class _Token:
    """`renewal`: when to ask for the next one; both times in seconds since the epoch."""

    text: str
    renewal: float
    expires: float


@dataclass(frozen=True, slots=True)
class _Failure:
    """`count` attempts in a row that failed; `retry_at` in seconds since the epoch. `reported`: as an event."""

    why: str
    refused: bool
    retry_at: float
    count: int
    reported: bool


class PodTokens:
    """The tokens that one pod's volumes show, by `podtokens.key`. `changed` is called when there is another, or an attempt has
    failed; `event` records a warning."""

    def __init__(self, create: Create, clock: Clock, changed: Callable[[], None], event: Callable[[str, str], None]) -> None:
        self._create = create
        self._clock = clock
        self._changed = changed
        self._event = event
        self._tokens: dict[str, _Token] = {}
        self._failures: dict[str, _Failure] = {}
        # When `start` was called.
        self._since = math.inf
        self._wake = asyncio.Event()

    def get(self, key: str) -> str | None:
        """May be called from any thread."""
        found = self._tokens.get(key)
        return found.text if found is not None else None

    def take(self, tokens: Iterable[PodToken]) -> None:
        """Tokens that came with the pod."""
        for item in tokens:
            self._put(podtokens.key(item), _received(item.token, item.expirationSeconds, self._clock.now()))
            if self._since < math.inf:
                self._changed()

    def resume(self, shown: Mapping[str, str]) -> None:
        """Tokens that the volumes show since an earlier agent."""
        for key, text in shown.items():
            self._put(key, _found(text, self._clock.now()))

    def lack(self, pod: Any) -> Lack | None:
        """A token without which the pod's volumes are not to be made yet; one that is refused before others."""
        found = None
        for volume, source in podtokens.projections(pod):
            key = podtokens.key(source)
            if key in self._tokens:
                continue
            failure = self._failures.get(key)
            if failure is not None and failure.refused:
                return Lack(volume, failure.why, None)
            found = found or Lack(volume, "no answer yet" if failure is None else failure.why, self._since + PATIENCE)
        return found

    def connected(self) -> None:
        """There is a control plane: ask for what is missing. Renewals keep their times, or a control plane that was away for
        long would sign for all pods of the cluster at once."""
        for key, failure in self._failures.items():
            if key not in self._tokens:
                self._failures[key] = replace(failure, retry_at=0.0)
                self._wake.set()

    def start(self, pod: Callable[[], Any]) -> asyncio.Task[None]:
        """Ask for tokens that are missing or due, until the task is cancelled."""
        self._since = self._clock.now()
        return asyncio.ensure_future(self._keep(pod))

    async def _keep(self, pod: Callable[[], Any]) -> None:
        while True:
            self._wake.clear()
            if await self._ask_for_due(pod()):
                self._changed()
            due = min((self._due(podtokens.key(source)) for _, source in podtokens.projections(pod())), default=math.inf)
            await self._clock.wait(self._wake, min(max(due - self._clock.now(), 0.0), LOOK))

    async def _ask_for_due(self, pod: Any) -> bool:
        """Returns whether one was."""
        asked = False
        for volume, source in podtokens.projections(pod):
            if self._due(podtokens.key(source)) <= self._clock.now():
                await self._ask(pod, volume, source)
                asked = True
        return asked

    def _due(self, key: str) -> float:
        """When to ask for a token, in seconds since the epoch."""
        failure, token = self._failures.get(key), self._tokens.get(key)
        if failure is not None:
            return failure.retry_at
        return token.renewal if token is not None else 0.0

    async def _ask(self, pod: Any, volume: str, source: Any) -> None:
        key, begun = podtokens.key(source), self._clock.now()
        try:
            answer = await self._create(podtokens.request(pod, source))
        except grpc.aio.AioRpcError as error:
            self._failed(key, volume, error.details() or error.code().name, refused=error.code() in _REFUSALS)
        except (RuntimeError, asyncio.InvalidStateError) as error:
            self._failed(key, volume, str(error), refused=False)
        else:
            self._put(key, _received(answer.status.token, answer.spec.expirationSeconds, begun))

    def _put(self, key: str, token: _Token) -> None:
        self._failures.pop(key, None)
        self._tokens[key] = token

    def _failed(self, key: str, volume: str, why: str, *, refused: bool) -> None:
        before, now = self._failures.get(key), self._clock.now()
        count = before.count + 1 if before is not None else 1
        delay = min(FIRST_RETRY * 2.0 ** min(count - 1, 20), MAX_RETRY)
        reported = self._report(key, volume, why, refused=refused, before=before)
        self._failures[key] = _Failure(why, refused, now + jitter(delay), count, reported)
        log.warning("token_not_created volume=%s delay=%.0f error=%s", volume, delay, why)

    def _report(self, key: str, volume: str, why: str, *, refused: bool, before: _Failure | None) -> bool:
        """An event of each refusal, and of a token that has expired once: without a control plane, events of each attempt would
        only be a burst for the next one. Returns whether there was one since the last success."""
        token, reported = self._tokens.get(key), before is not None and before.reported
        if token is None and refused:
            self._event("FailedMount", f'MountVolume.SetUp failed for volume "{volume}" : failed to fetch token: {why}')
        elif token is not None and (refused or (token.expires <= self._clock.now() and not reported)):
            self._event(REASON, f'Unable to renew the service account token of volume "{volume}": {why}')
        else:
            return reported
        return True


def _received(token: str, lifetime: float, since: float) -> _Token:
    """`since` by this node's clock, which may differ from the control plane's."""
    return _Token(token, since + min(SHARE * lifetime, MAX_AGE) / jitter(1.0), since + lifetime)


def _found(token: str, now: float) -> _Token:
    """One whose age only its claims say, by the control plane's clock; not younger than now."""
    validity = podtokens.validity(token)
    if validity is None:
        return _Token(token, now, math.inf)
    return _received(token, validity.expires - validity.issued, min(validity.issued, now))
