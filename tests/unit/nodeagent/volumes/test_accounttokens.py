"""Tokens in projected volumes: what is asked for, when they are renewed, and what files show."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nodeagent.volumes.accounttokens import PodTokens
from nodeagent.volumes.content import ACCOUNT_TOKEN, File, Known, VolumeError, files_of, secret_bytes
from pinnace import podtokens
from pinnace.api.v1.nodes_pb2 import PodToken
from pinnace.authentication.v1.authentication_pb2 import TokenRequest
from pinnace.clock import VirtualClock, settle
from pinnace.core.v1.volume_pb2 import ServiceAccountTokenProjection
from tests.support.objects import pod

LIFETIME = 1000


def a_pod(*projections: dict[str, Any]) -> Any:
    made = pod("web")
    made.metadata.uid, made.spec.serviceAccountName = "u", "builder"
    source = made.spec.volumes.add(name="token").volumeSource.projected
    source.defaultMode = 0o644
    for item in projections or ({},):
        projection = ServiceAccountTokenProjection(**{"path": "token", "expirationSeconds": LIFETIME, **item})
        source.sources.add().serviceAccountToken.CopyFrom(projection)
    return made


class ControlPlane:
    """Answers with numbered tokens, or fails."""

    def __init__(self) -> None:
        self.asked: list[TokenRequest] = []
        self.failure: Exception | None = None

    async def create(self, request: TokenRequest) -> TokenRequest:
        if self.failure is not None:
            raise self.failure
        self.asked.append(request)
        answer = TokenRequest()
        answer.CopyFrom(request)
        answer.status.token = f"token-{len(self.asked)}"
        return answer


async def test_a_token_is_bound_to_the_pod() -> None:
    """Of the pod's account, for the audience and time that the volume names; each is asked for once."""
    plane, subject = ControlPlane(), a_pod({}, {"path": "vault", "audience": "vault", "expirationSeconds": 600})
    tokens = PodTokens(plane.create, VirtualClock())
    assert await tokens.renew(subject)
    assert not await tokens.renew(subject)
    first, second = plane.asked
    assert (first.metadata.namespace, first.metadata.name) == ("default", "builder")
    ref = first.spec.boundObjectRef
    assert (ref.apiVersion, ref.kind, ref.name, ref.uid) == ("v1", "Pod", "web", "u")
    assert (list(first.spec.audiences), first.spec.expirationSeconds) == ([], LIFETIME)
    assert (list(second.spec.audiences), second.spec.expirationSeconds) == (["vault"], 600)
    source = subject.spec.volumes[0].volumeSource
    known = Known(subject, lambda kind, name: tokens.get(name) if kind == ACCOUNT_TOKEN else None, {})
    assert files_of(source, known) == {"token": File(b"token-1", 0o644), "vault": File(b"token-2", 0o644)}
    assert secret_bytes(source) > 0


async def test_a_token_that_came_with_the_pod_is_not_asked_for() -> None:
    """It is renewed like others; one that did not come is asked for."""
    plane, clock = ControlPlane(), VirtualClock()
    subject = a_pod({}, {"path": "vault", "audience": "vault"})
    tokens = PodTokens(plane.create, clock)
    tokens.take([PodToken(expirationSeconds=LIFETIME, token="given")])
    assert await tokens.renew(subject)
    assert [list(request.spec.audiences) for request in plane.asked] == [["vault"]]
    assert [tokens.get(f"{LIFETIME}/{audience}") for audience in ("", "vault")] == ["given", "token-1"]
    await clock.advance(0.8 * LIFETIME)
    assert await tokens.renew(subject)
    assert tokens.get(f"{LIFETIME}/") == "token-2"


async def test_without_a_token_there_is_no_volume() -> None:
    """The error says what failed."""
    plane, subject = ControlPlane(), a_pod()
    plane.failure = RuntimeError("not connected yet")
    with pytest.raises(VolumeError, match="failed to fetch token: not connected yet"):
        await PodTokens(plane.create, VirtualClock()).renew(subject)
    with pytest.raises(VolumeError, match="no token"):
        files_of(subject.spec.volumes[0].volumeSource, Known(subject, lambda kind, name: None, {}))


async def test_a_token_is_renewed_before_it_expires() -> None:
    """After 80 % of its lifetime, again and again; a failure is tried again, and the old token stays until then."""
    plane, clock, subject = ControlPlane(), VirtualClock(), a_pod()
    tokens, shown = PodTokens(plane.create, clock), list[str | None]()
    key = podtokens.key(subject.spec.volumes[0].volumeSource.projected.sources[0].serviceAccountToken)
    await tokens.renew(subject)
    keeping = asyncio.ensure_future(tokens.keep(lambda: subject, lambda: shown.append(tokens.get(key))))
    await settle()
    await clock.advance(0.79 * LIFETIME)
    assert shown == []
    await clock.advance(0.2 * LIFETIME)
    assert shown == ["token-2"]
    plane.failure = RuntimeError("not connected yet")
    await clock.advance(1.2 * LIFETIME)
    assert (shown, tokens.get(key)) == (["token-2"], "token-2")
    plane.failure = None
    await clock.advance(30)
    assert shown == ["token-2", "token-3"]
    keeping.cancel()


async def test_a_new_agent_asks_at_once() -> None:
    """It has no token of the volumes that an earlier one made."""
    plane, clock, shown = ControlPlane(), VirtualClock(), list[int]()
    keeping = asyncio.ensure_future(PodTokens(plane.create, clock).keep(a_pod, lambda: shown.append(1)))
    await settle()
    assert (shown, len(plane.asked)) == ([1], 1)
    keeping.cancel()


async def test_a_long_lived_token_is_renewed_daily() -> None:
    plane, clock = ControlPlane(), VirtualClock()
    subject = a_pod({"expirationSeconds": 10 * 86_400})
    tokens = PodTokens(plane.create, clock)
    await tokens.renew(subject)
    await clock.advance(86_399)
    assert not await tokens.renew(subject)
    await clock.advance(1)
    assert await tokens.renew(subject)
