"""Tokens in projected volumes: what is asked for, when they are renewed, and what files show."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import grpc
import pytest

from nodeagent.volumes.accounttokens import PATIENCE, REASON, PodTokens
from nodeagent.volumes.content import ACCOUNT_TOKEN, File, Known, files_of, secret_bytes
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
        self.attempts = 0
        self.failure: Exception | None = None

    async def create(self, request: TokenRequest) -> TokenRequest:
        self.attempts += 1
        if self.failure is not None:
            raise self.failure
        self.asked.append(request)
        answer = TokenRequest()
        answer.CopyFrom(request)
        answer.status.token = f"token-{len(self.asked)}"
        return answer


def refused(code: grpc.StatusCode = grpc.StatusCode.NOT_FOUND) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details="no such account")


AWAY = RuntimeError("not connected yet")


class Kept:
    """The tokens of one pod, kept on virtual time; what they were at each change, and the events."""

    def __init__(self, subject: Any = None, failure: Exception | None = None) -> None:
        self.plane, self.clock, self.pod = ControlPlane(), VirtualClock(), subject or a_pod()
        self.plane.failure = failure
        self.shown = list[str | None]()
        self.events = list[tuple[str, str]]()
        self.tokens = PodTokens(self.plane.create, self.clock, self._changed, lambda *event: self.events.append(event))
        self._task: asyncio.Task[None] | None = None

    def _changed(self) -> None:
        self.shown.append(self.token)

    @property
    def token(self) -> str | None:
        return self.tokens.get(f"{LIFETIME}/")

    @property
    def refused(self) -> str | None:
        """Why the pod waits for as long as it takes."""
        lack = self.tokens.lack(self.pod)
        return lack.why if lack is not None and lack.until is None else None

    async def __aenter__(self) -> Kept:
        self._task = self.tokens.start(lambda: self.pod)
        await settle()
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def test_a_token_is_bound_to_the_pod() -> None:
    """Of the pod's account, for the audience and time that the volume names; each is asked for once."""
    async with Kept(a_pod({}, {"path": "vault", "audience": "vault", "expirationSeconds": 600})) as kept:
        first, second = kept.plane.asked
    assert (first.metadata.namespace, first.metadata.name) == ("default", "builder")
    ref = first.spec.boundObjectRef
    assert (ref.apiVersion, ref.kind, ref.name, ref.uid) == ("v1", "Pod", "web", "u")
    assert (list(first.spec.audiences), first.spec.expirationSeconds) == ([], LIFETIME)
    assert (list(second.spec.audiences), second.spec.expirationSeconds) == (["vault"], 600)
    source = kept.pod.spec.volumes[0].volumeSource
    known = Known(kept.pod, lambda kind, name: kept.tokens.get(name) if kind == ACCOUNT_TOKEN else None, {})
    assert files_of(source, known) == {"token": File(b"token-1", 0o644), "vault": File(b"token-2", 0o644)}
    assert secret_bytes(source) > 0


def test_a_volume_without_its_token_has_its_other_files() -> None:
    """A pod that starts without a control plane has no token, and still its namespace."""
    subject = a_pod()
    item = subject.spec.volumes[0].volumeSource.projected.sources.add().downwardAPI.items.add(path="namespace")
    item.fieldRef.fieldPath = "metadata.namespace"
    files = files_of(subject.spec.volumes[0].volumeSource, Known(subject, lambda kind, name: None, {}))
    assert files == {"namespace": File(b"default", 0o644)}


async def test_a_token_that_came_with_the_pod_is_not_asked_for() -> None:
    """It is renewed like others; one that did not come is asked for, and delays the pod until it is there."""
    kept = Kept(a_pod({}, {"path": "vault", "audience": "vault"}))
    kept.tokens.take([PodToken(expirationSeconds=LIFETIME, token="given")])
    assert kept.tokens.lack(kept.pod) is not None
    async with kept:
        assert [list(request.spec.audiences) for request in kept.plane.asked] == [["vault"]]
        assert [kept.tokens.get(f"{LIFETIME}/{audience}") for audience in ("", "vault")] == ["given", "token-1"]
        assert kept.tokens.lack(kept.pod) is None
        await kept.clock.advance(0.8 * LIFETIME)
        assert kept.token in ("token-2", "token-3")


async def test_a_pod_waits_for_a_missing_token_for_a_moment() -> None:
    """An agent that starts is connected a moment later; without a control plane the pod starts without its token."""
    async with Kept(failure=AWAY) as kept:
        begun = kept.clock.now()
        lack = kept.tokens.lack(kept.pod)
        assert lack is not None
        assert (lack.volume, lack.why, lack.until) == ("token", "not connected yet", begun + PATIENCE)
        await kept.clock.advance(600)
        assert kept.tokens.lack(kept.pod) == lack
        assert kept.events == []


async def test_a_missing_token_is_asked_for_as_soon_as_there_is_a_control_plane() -> None:
    """Whatever the pause between attempts has become."""
    async with Kept(failure=AWAY) as kept:
        await kept.clock.advance(3600)
        assert kept.plane.attempts < 25
        kept.plane.failure = None
        kept.tokens.connected()
        await settle()
        assert (kept.token, kept.shown[-1]) == ("token-1", "token-1")
        assert kept.tokens.lack(kept.pod) is None


async def test_a_renewal_that_is_due_does_not_wait_for_a_connection_to_ask() -> None:
    """When a control plane returns, the agents do not ask for the tokens of all pods at once."""
    async with Kept() as kept:
        kept.plane.failure = AWAY
        await kept.clock.advance(2 * LIFETIME)
        kept.plane.failure = None
        before = kept.plane.attempts
        kept.tokens.connected()
        await settle()
        assert kept.plane.attempts == before
        await kept.clock.advance(360)
        assert kept.token == "token-2"


async def test_a_refused_token_is_waited_for() -> None:
    """Each attempt is an event, in kubelet's words; a later answer ends it."""
    async with Kept(failure=refused()) as kept:
        assert kept.refused == "no such account"
        assert kept.events == [
            ("FailedMount", 'MountVolume.SetUp failed for volume "token" : failed to fetch token: no such account')
        ]
        await kept.clock.advance(2)
        assert (len(kept.events), kept.shown) == (2, [None, None])
        kept.plane.failure = None
        await kept.clock.advance(4)
        assert (kept.refused, kept.token) == (None, "token-1")


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "UNAUTHENTICATED", "INTERNAL", "RESOURCE_EXHAUSTED"])
async def test_a_control_plane_that_cannot_answer_is_none(code: str) -> None:
    """The pod does not wait for it."""
    async with Kept(failure=refused(grpc.StatusCode[code])) as kept:
        assert kept.tokens.lack(kept.pod) is not None
        assert kept.refused is None


@pytest.mark.parametrize("code", ["NOT_FOUND", "PERMISSION_DENIED", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "ABORTED"])
async def test_a_control_plane_that_gives_no_token_refuses_it(code: str) -> None:
    """Another token of the pod that only has no answer yet changes nothing."""
    kept = Kept(a_pod({"path": "vault", "audience": "vault"}, {}), failure=refused(grpc.StatusCode[code]))
    async with kept:
        kept.tokens.take([PodToken(expirationSeconds=LIFETIME, audience="vault", token="given")])
        assert kept.refused == "no such account"


async def test_a_token_is_renewed_before_it_expires() -> None:
    """After 80 % of its lifetime or somewhat sooner, again and again."""
    async with Kept() as kept:
        await kept.clock.advance(0.66 * LIFETIME)
        assert kept.shown == ["token-1"]
        await kept.clock.advance(0.15 * LIFETIME)
        assert kept.shown == ["token-1", "token-2"]
        await kept.clock.advance(0.81 * LIFETIME)
        assert kept.shown == ["token-1", "token-2", "token-3"]
        assert kept.events == []


async def test_a_token_that_is_not_renewed_stays() -> None:
    """Also once it has expired, which is an event, once; the pauses between attempts grow to five minutes."""
    async with Kept() as kept:
        kept.plane.failure = AWAY
        await kept.clock.advance(0.99 * LIFETIME)
        assert (kept.plane.attempts > 3, kept.events) == (True, [])
        await kept.clock.advance(LIFETIME)
        assert (kept.token, kept.tokens.lack(kept.pod)) == ("token-1", None)
        text = 'Unable to renew the service account token of volume "token": not connected yet'
        assert kept.events == [(REASON, text)]
        before = kept.plane.attempts
        await kept.clock.advance(3600)
        assert 10 <= kept.plane.attempts - before <= 12
        assert len(kept.events) == 1
        kept.plane.failure = None
        await kept.clock.advance(360)
        assert kept.token == "token-2"


async def test_a_renewal_that_is_refused_is_an_event() -> None:
    """The pod keeps its token and continues to run."""
    async with Kept() as kept:
        kept.plane.failure = refused()
        await kept.clock.advance(0.81 * LIFETIME)
        assert (kept.token, kept.tokens.lack(kept.pod)) == ("token-1", None)
        assert kept.events[0] == (REASON, 'Unable to renew the service account token of volume "token": no such account')


def jwt_of(**claims: Any) -> str:
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims, {}))


async def test_a_token_of_an_earlier_agent_is_renewed_when_it_is_due() -> None:
    """Its age is in its claims; a control plane is not needed before."""
    kept = Kept(failure=AWAY)
    issued = int(kept.clock.now()) - LIFETIME // 2
    token = jwt_of(iat=issued, exp=issued + LIFETIME)
    kept.tokens.resume({f"{LIFETIME}/": token})
    async with kept:
        assert (kept.token, kept.tokens.lack(kept.pod)) == (token, None)
        await kept.clock.advance(0.16 * LIFETIME)
        assert kept.plane.attempts == 0
        kept.plane.failure = None
        await kept.clock.advance(0.15 * LIFETIME)
        assert kept.token == "token-1"


async def test_a_token_from_the_future_is_of_now() -> None:
    """This node's clock is behind the control plane's: it is not kept for longer than its lifetime."""
    kept = Kept()
    issued = int(kept.clock.now()) + 10 * LIFETIME
    kept.tokens.resume({f"{LIFETIME}/": jwt_of(iat=issued, exp=issued + LIFETIME)})
    async with kept:
        await kept.clock.advance(0.81 * LIFETIME)
        assert kept.token == "token-1"


@pytest.mark.parametrize(
    "text",
    ["", "x", "a.b.c", jwt_of(iat="soon", exp=1), jwt_of(exp=1), ".W10.", f".{'WyJb' * 9}.", "a.W1.c", jwt_of(iat=[], exp=1)],
)
async def test_a_token_that_is_none_is_replaced_at_once(text: str) -> None:
    """And stays until then."""
    kept = Kept(failure=AWAY)
    kept.tokens.resume({f"{LIFETIME}/": text})
    async with kept:
        assert (kept.token, kept.tokens.lack(kept.pod), kept.plane.attempts) == (text, None, 1)
        kept.plane.failure = None
        await kept.clock.advance(2)
        assert kept.token == "token-1"


async def test_a_token_that_comes_with_the_pod_ends_the_wait_for_it() -> None:
    """When a session begins, the pod may come once more."""
    async with Kept(failure=AWAY) as kept:
        kept.tokens.take([PodToken(expirationSeconds=LIFETIME, token="given")])
        assert (kept.shown[-1], kept.tokens.lack(kept.pod)) == ("given", None)
        attempts = kept.plane.attempts
        await kept.clock.advance(600)
        assert kept.plane.attempts == attempts


async def test_a_suspended_machine_renews_what_is_due_by_then() -> None:
    """The wall clock advances while sleepers sleep."""
    async with Kept() as kept:
        kept.clock.step(2 * LIFETIME)
        await kept.clock.advance(61)
        assert kept.token == "token-2"


async def test_a_long_lived_token_is_renewed_daily() -> None:
    async with Kept(a_pod({"expirationSeconds": 10 * 86_400})) as kept:
        await kept.clock.advance(0.83 * 86_400)
        assert len(kept.plane.asked) == 1
        await kept.clock.advance(0.17 * 86_400)
        assert len(kept.plane.asked) == 2
