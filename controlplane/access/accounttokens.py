"""Tokens of service accounts: signed claims that hold while the account, and what they are bound to, exist.

Source: kubernetes/pkg/serviceaccount (claims.go, jwt.go) and RFC 7519.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.access.identity import ACCOUNT_PREFIX, ACCOUNTS, Identity, authenticated
from controlplane.access.rbac import Rows
from controlplane.access.signingkey import ALGORITHM, SigningKey
from controlplane.store import StoredObject
from pinnace import kinds
from pinnace.errors import Unauthenticated
from pinnace.kinds import Kind

# Whom tokens are for that name no audience, and who issues them, unless the operator says otherwise.
ISSUER = "https://kubernetes.default.svc.cluster.local"
# Bytes of a token that is looked at.
MAX_TOKEN = 16 << 10
# Seconds for which a token outlives the deletion of what it is bound to: an object that is being deleted may need it.
LEEWAY = 60.0
_CLAIM = "kubernetes.io"
_EXTRA = "authentication.kubernetes.io/"
# What a token may be bound to, by the name of its claim.
BOUND: dict[str, Kind] = {"pod": kinds.POD, "secret": kinds.SECRET, "node": kinds.NODE}


@dataclass(frozen=True, slots=True)
class Bound:
    """An object that a token names: its name and UID."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Claims:
    """Of one token; times in seconds since the epoch. `bound` by the keys of BOUND; a pod's token names its node too."""

    namespace: str
    account: Bound
    audiences: tuple[str, ...]
    issued: int
    expires: int
    id: str
    bound: dict[str, Bound]


@dataclass(frozen=True, slots=True)
class Authenticated:
    """Whose a token is, and which of the audiences that were asked for it has."""

    identity: Identity
    audiences: tuple[str, ...]


class AccountTokens:
    def __init__(
        self, rows: Rows, key: SigningKey, *, verifying: Sequence[SigningKey] = (), issuer: str = ISSUER,
        audiences: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """`verifying`: keys whose tokens are accepted too; `audiences` of the API, empty: its issuer."""
        self._rows = rows
        self._key = key
        self._by_id = {item.id: item for item in (*verifying, key)}
        self.issuer = issuer
        self.audiences = tuple(audiences) or (issuer,)

    def sign(self, claims: Claims) -> str:
        """The token."""
        private = {"namespace": claims.namespace, "serviceaccount": _named(claims.account)}
        private |= {name: _named(bound) for name, bound in claims.bound.items()}
        payload = {
            "iss": self.issuer, "sub": f"{ACCOUNT_PREFIX}{claims.namespace}:{claims.account.name}", "jti": claims.id,
            "aud": list(claims.audiences), "iat": claims.issued, "nbf": claims.issued, "exp": claims.expires, _CLAIM: private,
        }  # fmt: skip
        return self._key.sign(payload)

    def issued_by_us(self, token: str) -> bool:
        """Whether a token says that it is one of these: a cheap look, which proves nothing."""
        return token.count(".") == 2 and len(token) <= MAX_TOKEN

    def authenticate(self, token: str, audiences: Sequence[str], *, now: float) -> Authenticated:
        """Whose a token is, for one of the `audiences` (empty: the API's). Raises Unauthenticated, with the reason."""
        claims = self._verify(token, now)
        accepted = audiences or self.audiences
        shared = tuple(item for item in claims.audiences if item in accepted)
        if not shared:
            raise Unauthenticated(
                f"token audiences {list(claims.audiences)} is invalid for the target audiences {list(accepted)}"
            )
        self._check_account(claims, now)
        for name, kind in BOUND.items():
            # The node of a pod's token is told, and may be gone while the pod is not.
            if name in claims.bound and not (name == "node" and "pod" in claims.bound):
                self._check_bound(kind, claims, claims.bound[name], now)
        return Authenticated(_identity(claims), shared)

    def _verify(self, token: str, now: float) -> Claims:
        import jwt

        if not self.issued_by_us(token):
            raise Unauthenticated("not a token of a service account")
        try:
            # The library would compare with a clock of its own.
            options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
            key = self._by_id[jwt.get_unverified_header(token)["kid"]]
            payload = jwt.decode(token, key.public, algorithms=[ALGORITHM], issuer=self.issuer, options=options)
            claims = _parse(payload)
        except (jwt.InvalidTokenError, ValueError, KeyError, TypeError, RecursionError):
            raise Unauthenticated("invalid bearer token") from None
        if now >= claims.expires:
            raise Unauthenticated("service account token has expired")
        if now < claims.issued - LEEWAY:
            raise Unauthenticated("service account token is not valid yet")
        return claims

    def _check_account(self, claims: Claims, now: float) -> None:
        row = self._rows.row(kinds.SERVICE_ACCOUNT, kinds.SERVICE_ACCOUNT.key(claims.namespace, claims.account.name))
        if row is None or _deleted(row, now):
            raise Unauthenticated("service account token has been invalidated: the service account does not exist")
        uid = row.message.metadata.uid
        if uid != claims.account.uid:
            raise Unauthenticated(f"service account UID ({uid}) does not match claim ({claims.account.uid})")

    def _check_bound(self, kind: Kind, claims: Claims, bound: Bound, now: float) -> None:
        row = self._rows.row(kind, kind.key(claims.namespace, bound.name))
        if row is None or _deleted(row, now) or row.message.metadata.uid != bound.uid:
            raise Unauthenticated(f"service account token has been invalidated: its {kind.singular} does not exist")


def _deleted(row: StoredObject, now: float) -> bool:
    since = row.message.metadata.deletionTimestamp.seconds
    return bool(since) and since + LEEWAY < now


def _named(bound: Bound) -> dict[str, str]:
    return {"name": bound.name, "uid": bound.uid}


def _parse(payload: dict[str, Any]) -> Claims:
    """Raises ValueError, KeyError, TypeError for claims of another form."""
    private = payload[_CLAIM]
    audiences = payload["aud"]
    account = _bound(private["serviceaccount"])
    namespace = _text(private["namespace"])
    if payload["sub"] != f"{ACCOUNT_PREFIX}{namespace}:{account.name}":
        raise ValueError("the subject is another account")
    return Claims(
        namespace, account, tuple(map(_text, [audiences] if isinstance(audiences, str) else audiences)),
        int(payload["nbf"]), int(payload["exp"]), _text(payload.get("jti", "")),
        {name: _bound(private[name]) for name in BOUND if name in private},
    )  # fmt: skip


def _bound(value: Any) -> Bound:
    return Bound(_text(value["name"]), _text(value["uid"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _identity(claims: Claims) -> Identity:
    extra: dict[str, tuple[str, ...]] = {f"{_EXTRA}credential-id": (f"JTI={claims.id}",)} if claims.id else {}
    for name in ("pod", "node"):
        if name in claims.bound:
            bound = claims.bound[name]
            extra |= {f"{_EXTRA}{name}-name": (bound.name,), f"{_EXTRA}{name}-uid": (bound.uid,)}
    user = f"{ACCOUNT_PREFIX}{claims.namespace}:{claims.account.name}"
    groups = (ACCOUNTS, f"{ACCOUNTS}:{claims.namespace}")
    return authenticated(Identity(user, groups, uid=claims.account.uid, expires=claims.expires, extra=extra))
