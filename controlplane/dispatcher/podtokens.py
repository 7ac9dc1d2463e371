"""Tokens that are sent with a pod's assignment, so that its start waits for no call of its agent.

They are those that the agent could create itself: the same request is made in its name, and authorized.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from controlplane.access.identity import Identity
from pinnace import podtokens
from pinnace.api.v1.nodes_pb2 import PodToken
from pinnace.authentication.v1.authentication_pb2 import TokenRequest
from pinnace.clock import Clock
from pinnace.errors import ApiError

# One takes 0.07 ms; a pod that shows more tokens gets the rest when its agent asks.
MAX_TOKENS = 4

Issue = Callable[[Any], list[PodToken]]
"""The tokens that come with a pod that has not started."""


class CreateToken(Protocol):
    """Makes a token that the caller may have. Raises Forbidden, NotFound, Invalid, Conflict, BadRequest."""

    def __call__(self, request: TokenRequest, caller: Identity, /, *, now: float) -> TokenRequest: ...


def none(pod: Any) -> list[PodToken]:
    """Issue nothing."""
    return []


def issue_for(agent: Identity, create: CreateToken, clock: Clock) -> Issue:
    """What issues tokens to a node's agent. One that cannot be made is left out: the agent asks for it and is told why."""

    def issue(pod: Any) -> list[PodToken]:
        if pod.status.HasField("startTime") or pod.metadata.HasField("deletionTimestamp"):
            return []
        wanted = {podtokens.key(source): source for _, source in podtokens.projections(pod)}
        found = []
        for source in list(wanted.values())[:MAX_TOKENS]:
            try:
                made = create(podtokens.request(pod, source), agent, now=clock.now())
            except ApiError:
                continue
            found.append(
                PodToken(audience=source.audience, expirationSeconds=source.expirationSeconds, token=made.status.token)
            )
        return found

    return issue
