"""Acting as another user: each part of the other identity takes the verb `impersonate` on it. Pure.

Source: apiserver's endpoints/filters/impersonation (WithImpersonation).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from controlplane.access.attributes import Attributes
from controlplane.access.authorizer import Authorizer, require
from controlplane.access.identity import (
    ACCOUNT_PREFIX,
    ACCOUNTS,
    ANONYMOUS,
    AUTHENTICATED,
    UNAUTHENTICATED,
    Identity,
    authenticated,
)
from pinnace.errors import BadRequest

# Groups and values of extra together, of one request.
MAX_PARTS = 1_000


@dataclass(frozen=True, slots=True)
class Impersonation:
    """What the headers Impersonate-User, -Group, -Uid and -Extra-KEY name; keys of `extra` in lower case."""

    user: str = ""
    groups: Sequence[str] = ()
    uid: str = ""
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.user or self.groups or self.uid or self.extra)


def impersonate(authorizer: Authorizer, caller: Identity, wanted: Impersonation) -> Identity:
    """The identity that the caller acts as. Raises Forbidden, and BadRequest for parts without a user."""
    if not wanted:
        return caller
    if not wanted.user:
        raise BadRequest("requested impersonation without impersonating a user")
    if len(wanted.groups) + sum(map(len, wanted.extra.values())) > MAX_PARTS:
        raise BadRequest(f"more than {MAX_PARTS} groups and values of extra")
    for request in _requests(caller, wanted):
        require(authorizer, request)
    extra = {key: tuple(values) for key, values in wanted.extra.items()}
    groups = tuple(wanted.groups) or _groups_of(wanted.user)
    made = Identity(wanted.user, groups, uid=wanted.uid, expires=caller.expires, extra=extra, impersonator=caller)
    if wanted.user == ANONYMOUS.user:
        return made if groups else replace(ANONYMOUS, impersonator=caller)
    return made if UNAUTHENTICATED in groups else authenticated(made)


def _requests(caller: Identity, wanted: Impersonation) -> Iterator[Attributes]:
    account = Identity(wanted.user, ()).account
    if account is not None:
        yield _request(caller, "serviceaccounts", account[1], namespace=account[0])
    else:
        yield _request(caller, "users", wanted.user)
    for group in dict.fromkeys(wanted.groups):
        yield _request(caller, "groups", group)
    if wanted.uid:
        yield _request(caller, "uids", wanted.uid, group="authentication.k8s.io")
    for key, values in wanted.extra.items():
        for value in values:
            yield _request(caller, "userextras", value, group="authentication.k8s.io", subresource=key)


def _request(caller: Identity, resource: str, name: str, **where: str) -> Attributes:
    version = "v1"
    return Attributes(
        user=caller.user, groups=caller.groups, extra=caller.extra, verb="impersonate", version=version, resource=resource,
        name=name, **where,
    )  # fmt: skip


def _groups_of(user: str) -> tuple[str, ...]:
    """The groups of a service account; other users have none by themselves."""
    if user.startswith(ACCOUNT_PREFIX):
        namespace = user.removeprefix(ACCOUNT_PREFIX).partition(":")[0]
        return ACCOUNTS, f"{ACCOUNTS}:{namespace}", AUTHENTICATED
    return ()
