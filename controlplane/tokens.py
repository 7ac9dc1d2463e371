"""One-time join tokens, kept as Secrets of type bootstrap.kubernetes.io/token in kube-system.

Form and Secret layout are those of Kubernetes' bootstrap tokens; unlike those, a token is used up by its first use.
Only a hash of the secret part is stored.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Any

from controlplane.store import Tx
from pinnace import codec, kinds
from pinnace.errors import Forbidden

_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})\Z", re.ASCII)
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
NAMESPACE = "kube-system"
TYPE = "bootstrap.kubernetes.io/token"
DEFAULT_TTL, MAX_TTL = 3600, 7 * 86400


def new() -> str:
    def draw(count: int) -> str:
        return "".join(secrets.choice(_ALPHABET) for _ in range(count))

    return f"{draw(6)}.{draw(16)}"


def keep(tx: Tx, token: str, *, now: float, ttl: int) -> None:
    """Store a token for `ttl` seconds, and forget those that have expired."""
    for row in tx.peek(kinds.SECRET, NAMESPACE):
        old = row.parse()
        if old.type == TYPE and float(old.data.get("expires-at", b"0")) < now:
            tx.delete(kinds.SECRET, NAMESPACE, old.metadata.name)
    id_, _, secret = token.partition(".")
    message: Any = kinds.SECRET.cls()
    message.metadata.name, message.metadata.namespace = f"bootstrap-token-{id_}", NAMESPACE
    message.metadata.creationTimestamp.CopyFrom(codec.time_of(now))
    message.type = TYPE
    message.data["token-id"] = id_.encode()
    message.data["token-hash"] = _hash(secret)
    message.data["expires-at"] = str(int(now + ttl)).encode()
    tx.create(kinds.SECRET, message)


def spend(tx: Tx, token: str, *, now: float) -> None:
    """Use a token up. Raises Forbidden, with one message for every way in which it can be wrong."""
    match = _TOKEN.match(token)
    found = tx.get(kinds.SECRET, NAMESPACE, f"bootstrap-token-{match[1]}") if match else None
    if match is None or found is None or not hmac.compare_digest(found.data["token-hash"], _hash(match[2])):
        raise Forbidden("the join token is wrong, used up or expired")
    if float(found.data["expires-at"]) < now:
        raise Forbidden("the join token is wrong, used up or expired")
    tx.delete(kinds.SECRET, NAMESPACE, found.metadata.name)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).hexdigest().encode()
