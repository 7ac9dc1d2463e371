"""Tokens that a pod comes to its node with."""

from __future__ import annotations

from typing import Any

from controlplane.access.identity import Identity
from controlplane.dispatcher.podtokens import MAX_TOKENS, issue_for
from pinnace.authentication.v1.authentication_pb2 import TokenRequest
from pinnace.clock import VirtualClock
from pinnace.errors import Forbidden
from tests.support.objects import pod

AGENT = Identity("system:node:n1", ("system:nodes",))


class Accounts:
    """Answers with numbered tokens, or refuses."""

    def __init__(self) -> None:
        self.asked: list[tuple[TokenRequest, Identity]] = []
        self.refuses = False

    def create(self, request: TokenRequest, caller: Identity, *, now: float) -> TokenRequest:
        if self.refuses:
            raise Forbidden("no")
        self.asked.append((request, caller))
        answer = TokenRequest()
        answer.CopyFrom(request)
        answer.status.token = f"token-{len(self.asked)}"
        return answer


def a_pod(*audiences: str) -> Any:
    made = pod("web")
    made.metadata.uid, made.spec.serviceAccountName = "u", "builder"
    for audience in audiences:
        source = made.spec.volumes.add(name="t").volumeSource.projected.sources.add().serviceAccountToken
        source.path, source.audience, source.expirationSeconds = "token", audience, 3607
    return made


def test_each_token_of_a_new_pod_is_asked_for_once_in_the_agents_name() -> None:
    accounts = Accounts()
    found = issue_for(AGENT, accounts.create, VirtualClock())(a_pod("", "vault", ""))
    assert [(item.audience, item.expirationSeconds, item.token) for item in found] == [
        ("", 3607, "token-1"), ("vault", 3607, "token-2"),
    ]  # fmt: skip
    (first, caller), (second, _) = accounts.asked
    assert caller is AGENT
    assert (first.metadata.namespace, first.metadata.name) == ("default", "builder")
    assert (list(first.spec.audiences), list(second.spec.audiences)) == ([], ["vault"])
    assert (first.spec.boundObjectRef.name, first.spec.boundObjectRef.uid) == ("web", "u")


def test_a_pod_that_has_started_or_is_deleted_comes_without_tokens() -> None:
    """Its agent has them, or needs none; and a pod without projections has none."""
    accounts, started, deleted = Accounts(), a_pod(""), a_pod("")
    issue = issue_for(AGENT, accounts.create, VirtualClock())
    started.status.startTime.seconds = 1
    deleted.metadata.deletionTimestamp.seconds = 1
    assert [issue(subject) for subject in (started, deleted, pod("plain"))] == [[], [], []]
    assert not accounts.asked


def test_a_refusal_or_a_crowd_of_tokens_is_left_to_the_agent() -> None:
    """It is told why; and signing for one pod does not hold up other nodes."""
    accounts = Accounts()
    issue = issue_for(AGENT, accounts.create, VirtualClock())
    assert len(issue(a_pod(*(f"a{number}" for number in range(20))))) == MAX_TOKENS
    accounts.refuses = True
    assert issue(a_pod("")) == []
