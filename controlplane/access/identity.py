"""Who calls: a user with groups, as a client certificate, a token or impersonation names it.

A certificate's subject is CN, the user, and O, its groups. What a user may do is the authorizers'.
Source: Kubernetes' x509 client certificate authentication, and apiserver's user package (user.Info).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from pinnace import pki
from pinnace.errors import Unauthenticated

MASTERS = "system:masters"
AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
NODES, NODE_PREFIX = pki.NODES, pki.NODE_PREFIX
ACCOUNT_PREFIX, ACCOUNTS = "system:serviceaccount:", "system:serviceaccounts"


@dataclass(frozen=True, slots=True)
class Identity:
    """A user. `uid` tells apart users of one name at different times; `expires` in seconds since the epoch.

    `extra` has what authentication knows besides, such as the pod that a token is bound to."""

    user: str
    groups: tuple[str, ...]
    uid: str = ""
    expires: float = math.inf
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    # Who acts as this user, if another one does.
    impersonator: Identity | None = field(default=None, compare=False)

    @property
    def actor(self) -> Identity:
        """Whose credentials the request came with."""
        return self.impersonator or self

    @property
    def node(self) -> str:
        """The node that this is the agent of, or empty."""
        return self.user.removeprefix(NODE_PREFIX) if NODES in self.groups and self.user.startswith(NODE_PREFIX) else ""

    @property
    def account(self) -> tuple[str, str] | None:
        """Namespace and name of the service account that this is, or None."""
        namespace, colon, name = self.user.removeprefix(ACCOUNT_PREFIX).partition(":")
        return (namespace, name) if colon and self.user.startswith(ACCOUNT_PREFIX) else None


ANONYMOUS = Identity("system:anonymous", (UNAUTHENTICATED,))


def authenticated(identity: Identity) -> Identity:
    """The identity with the group of all authenticated users. A certificate's own groups are without it."""
    if AUTHENTICATED in identity.groups or identity.user == ANONYMOUS.user:
        return identity
    return replace(identity, groups=(*identity.groups, AUTHENTICATED))


def of_call(context: Any) -> Identity:
    """Raises Unauthenticated for a peer without a verified certificate."""
    certificates = context.auth_context().get("x509_pem_cert")
    if not certificates:
        raise Unauthenticated("a client certificate is required")
    return of_certificate(bytes(certificates[0]))


@lru_cache(maxsize=4096)
def of_certificate(certificate: bytes) -> Identity:
    """The identity in a verified client certificate, PEM or DER. Raises Unauthenticated."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    load = x509.load_pem_x509_certificate if certificate.startswith(b"-----") else x509.load_der_x509_certificate
    parsed = load(certificate)

    def values(oid: Any) -> tuple[str, ...]:
        return tuple(str(item.value) for item in parsed.subject.get_attributes_for_oid(oid))

    names, uids = values(NameOID.COMMON_NAME), values(x509.ObjectIdentifier(pki.UID_OID))
    if len(names) != 1 or len(uids) > 1:
        raise Unauthenticated("the client certificate must have one common name, and at most one user UID")
    groups = values(NameOID.ORGANIZATION_NAME)
    return Identity(names[0], groups, uid="".join(uids), expires=parsed.not_valid_after_utc.timestamp())
