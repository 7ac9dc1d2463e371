"""Names that a node can have: those of objects, as far as a certificate has room for them."""

from __future__ import annotations

from pinnace import fielderrors, pki
from pinnace.errors import BadRequest
from pinnace.formats import dns_subdomain


def check(name: str) -> None:
    """Raises BadRequest."""
    wrong = dns_subdomain(name)
    if not wrong and len(name) > pki.MAX_NODE_NAME:
        wrong = [f"must be no more than {pki.MAX_NODE_NAME} characters, because a certificate's common name holds no more"]
    if wrong:
        raise BadRequest(f"the node name {fielderrors.shown(name)}: {wrong[0]}")
