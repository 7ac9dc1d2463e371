"""Who calls, and what they may do. Identity is the client certificate's subject: CN is the user, O its groups.

Source: Kubernetes' x509 client certificate authentication. Authorisation is closed: what no line allows is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pinnace.errors import Forbidden, Unauthenticated

MASTERS = "system:masters"
NODES = "system:nodes"
NODE_PREFIX = "system:node:"


@dataclass(frozen=True, slots=True)
class Identity:
    user: str
    groups: tuple[str, ...]

    @property
    def node(self) -> str:
        """The node that this is the agent of, or empty."""
        return self.user.removeprefix(NODE_PREFIX) if NODES in self.groups and self.user.startswith(NODE_PREFIX) else ""


def of_call(context: Any) -> Identity:
    """Raises Unauthenticated for a peer without a verified certificate."""
    certificates = context.auth_context().get("x509_pem_cert")
    if not certificates:
        raise Unauthenticated("a client certificate is required")
    return _parse(bytes(certificates[0]))


@lru_cache(maxsize=256)
def _parse(pem: bytes) -> Identity:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    subject = x509.load_pem_x509_certificate(pem).subject
    names = [str(item.value) for item in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = tuple(str(item.value) for item in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    if not names:
        raise Unauthenticated("the client certificate names nobody")
    return Identity(names[0], groups)


def authorize(identity: Identity, method: str) -> None:
    """Raises Forbidden unless `identity` may call `method` (/package.Service/Method)."""
    service = method.split("/")[1] if method.count("/") == 2 else method
    if service == "grpc.health.v1.Health":
        return
    if service == "pinnace.api.v1.Nodes":
        if identity.node:
            return
    elif MASTERS in identity.groups:
        return
    raise Forbidden(f'user "{identity.user}" may not call {method}')
