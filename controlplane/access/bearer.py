"""The user of a bearer token: of a file, a bootstrap (join) token, or of a service account. Functions of memory alone.

Source: kube-apiserver's union of token authenticators; bootstrap tokens of plugin/pkg/auth/authenticator/token/bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from controlplane import tokens
from controlplane.access.accounttokens import AccountTokens, Authenticated
from controlplane.access.identity import Identity, authenticated
from controlplane.access.tokenfile import TokenFile
from controlplane.store import Tx
from pinnace.errors import Forbidden, Unauthenticated

T = TypeVar("T")
BOOTSTRAPPERS = "system:bootstrappers"


class View(Protocol):
    """Runs a function over the store, as Store.view."""

    def __call__(self, fn: Callable[[Tx], T], /) -> T: ...


class BearerTokens:
    def __init__(self, view: View, accounts: AccountTokens, file: TokenFile | None = None) -> None:
        self._view = view
        self._accounts = accounts
        self._file = file or TokenFile()

    def authenticate(self, token: str, audiences: Sequence[str] = (), *, now: float) -> Authenticated:
        """Whose a token is, for one of the `audiences` (empty: the API's). Raises Unauthenticated."""
        user = self._file.find(token)
        if user is None and self._accounts.issued_by_us(token):
            return self._accounts.authenticate(token, audiences, now=now)
        # Of the others the API is the only audience.
        shared = tuple(item for item in audiences or self._accounts.audiences if item in self._accounts.audiences)
        if not shared:
            raise Unauthenticated("the token is not for these audiences")
        return Authenticated(user or self._view(lambda tx: _bootstrap(tx, token, now)), shared)


def _bootstrap(tx: Tx, token: str, now: float) -> Identity:
    """Raises Unauthenticated for a token that is wrong, expired or used."""
    try:
        stored = tokens.check(tx, token, now=now)
    except Forbidden:
        raise Unauthenticated("invalid bearer token") from None
    if tokens.is_used(stored):
        raise Unauthenticated("invalid bearer token")
    return authenticated(Identity(f"system:bootstrap:{token.partition('.')[0]}", (BOOTSTRAPPERS,)))
