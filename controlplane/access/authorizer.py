"""The interface of authorizers, and how several decide together.

An authorizer answers from memory: it neither waits nor changes anything. None of ours denies what another allows; a request
that none allows is forbidden.
Source: apiserver's authorizer package and its union.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from controlplane.access.attributes import Attributes, forbidden
from controlplane.access.identity import MASTERS, Identity
from pinnace.rbac.v1.rbac_pb2 import PolicyRule


class Verdict(enum.Enum):
    ALLOW = "allow"
    DENY = "deny"
    NO_OPINION = "no opinion"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, and why."""

    verdict: Verdict
    reason: str = ""

    @property
    def allowed(self) -> bool:
        return self.verdict is Verdict.ALLOW


NO_OPINION = Decision(Verdict.NO_OPINION)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a user may do in one namespace; `incomplete` where an authorizer cannot list it, with the `errors`."""

    rules: tuple[PolicyRule, ...]
    incomplete: bool = False
    errors: tuple[str, ...] = ()


class Authorizer(Protocol):
    def authorize(self, request: Attributes) -> Decision:
        """Whether the request is allowed."""

    def rules_for(self, identity: Identity, namespace: str) -> Rules:
        """The rules by which `authorize` allows requests of a user in a namespace, and outside of namespaces."""


class Masters:
    """Members of system:masters may do everything."""

    def authorize(self, request: Attributes) -> Decision:
        return Decision(Verdict.ALLOW) if MASTERS in request.groups else NO_OPINION

    def rules_for(self, identity: Identity, namespace: str) -> Rules:
        return Rules(_EVERYTHING if MASTERS in identity.groups else ())


_EVERYTHING = (
    PolicyRule(verbs=["*"], apiGroups=["*"], resources=["*"]),
    PolicyRule(verbs=["*"], nonResourceURLs=["*"]),
)


class Union:
    """The first that allows or denies decides."""

    def __init__(self, authorizers: Sequence[Authorizer]) -> None:
        self._authorizers = tuple(authorizers)

    def authorize(self, request: Attributes) -> Decision:
        reasons = []
        for authorizer in self._authorizers:
            decision = authorizer.authorize(request)
            if decision.verdict is not Verdict.NO_OPINION:
                return decision
            reasons.append(decision.reason)
        return Decision(Verdict.NO_OPINION, "\n".join(filter(None, reasons)))

    def rules_for(self, identity: Identity, namespace: str) -> Rules:
        return _joined(authorizer.rules_for(identity, namespace) for authorizer in self._authorizers)


def _joined(parts: Iterable[Rules]) -> Rules:
    found = list(parts)
    return Rules(
        tuple(rule for part in found for rule in part.rules),
        any(part.incomplete for part in found),
        tuple(error for part in found for error in part.errors),
    )


def require(authorizer: Authorizer, request: Attributes) -> None:
    """Raises Forbidden unless the request is allowed."""
    decision = authorizer.authorize(request)
    if not decision.allowed:
        raise forbidden(request, decision.reason)
