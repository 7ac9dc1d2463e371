"""Join tokens, kept as Secrets of type bootstrap.kubernetes.io/token in kube-system.

Form and Secret layout are those of Kubernetes' bootstrap tokens; unlike those, a token lets one node join, once. It is
either bound to the name of that node, or lets a node join under a name that neither a Node nor a pod's spec.nodeName has.
Only a hash of the secret part is stored. A used token is kept until it expires, so that a host whose answer was lost may
repeat its request; a token from `--join-tokens` is kept for good, so that a restart with the same file neither renews nor
revives it.
"""

from __future__ import annotations

import bisect
import hashlib
import hmac
import math
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from controlplane.store import Tx
from pinnace import codec, kinds, nodename
from pinnace.errors import BadRequest, Forbidden
from pinnace.wellknown import SYSTEM_NAMESPACE

_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})\Z", re.ASCII)
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
TYPE = "bootstrap.kubernetes.io/token"
# Seconds.
DEFAULT_TTL, MAX_TTL = 3600, 7 * 86400
MAX_LISTED = 1000
# Tokens that are examined with each new one, to delete those that have expired: a transaction has its limits.
MAX_EXAMINED = 50
_PREFIX = "bootstrap-token-"
# One message for every way in which a token can be wrong.
_WRONG = "the join token is wrong, used up or expired"


def new() -> str:
    def draw(count: int) -> str:
        return "".join(secrets.choice(_ALPHABET) for _ in range(count))

    return f"{draw(6)}.{draw(16)}"


@dataclass(frozen=True, slots=True)
class Joining:
    """A host that wants to be `node`, with the key of this hash."""

    node: str
    key_hash: str


def keep(tx: Tx, token: str, *, now: float, ttl: int, node: str = "") -> None:
    """Store a token for `ttl` seconds, for `node` or any new node, and delete expired ones. Raises AlreadyExists."""
    for old in _expired(tx, token, now):
        tx.delete(kinds.SECRET, SYSTEM_NAMESPACE, old.metadata.name)
    tx.create(kinds.SECRET, _stored(token, now=now, ttl=ttl, node=node))


def _expired(tx: Tx, token: str, now: float) -> Iterator[Any]:
    """Of the tokens after the new one's place, which is random: a token costs the same however many there are, and each is
    examined again and again."""
    prefix = kinds.SECRET.key(SYSTEM_NAMESPACE, _PREFIX)
    found = [row for row in tx.list_untracked(kinds.SECRET, SYSTEM_NAMESPACE) if row.key.startswith(prefix)]
    start = bisect.bisect(found, prefix + token, key=lambda row: row.key)
    for row in (found[start:] + found[:start])[:MAX_EXAMINED]:
        old = row.message
        if old.type == TYPE and "listed" not in old.data and _expiry(old) < now:
            yield old


def keep_listed(tx: Tx, token: str, *, now: float, ttl: int, node: str = "") -> bool:
    """Store a token of a file, for good; False when it is known already, whatever became of it."""
    made = _stored(token, now=now, ttl=ttl, node=node)
    if tx.get(kinds.SECRET, SYSTEM_NAMESPACE, made.metadata.name) is not None:
        return False
    made.data["listed"] = b"true"
    tx.create(kinds.SECRET, made)
    return True


def parse_list(text: str) -> Iterator[tuple[str, str]]:
    """(token, node or empty) of each line `TOKEN [NODE]`; # starts a comment. Raises BadRequest, never with the token."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) > 2 or not _TOKEN.match(words[0]):
            raise BadRequest(
                f"line {number} is not a join token (6 characters, a dot, 16 of a-z and 0-9) and perhaps a node name"
            )
        node = words[1] if len(words) == 2 else ""
        if node:
            nodename.check(node)
        yield words[0], node


def _stored(token: str, *, now: float, ttl: int, node: str) -> Any:
    id_, _, secret = token.partition(".")
    message: Any = kinds.SECRET.cls()
    message.metadata.name, message.metadata.namespace = f"{_PREFIX}{id_}", SYSTEM_NAMESPACE
    message.metadata.creationTimestamp.CopyFrom(codec.time_of(now))
    message.type = TYPE
    message.data["token-id"] = id_.encode()
    message.data["token-hash"] = _hash(secret)
    message.data["expires-at"] = str(int(now + ttl)).encode()
    if node:
        message.data["node"] = node.encode()
    return message


def check(tx: Tx, token: str, *, now: float) -> Any:
    """The stored token, used or not. Raises Forbidden for one that is wrong or expired."""
    match = _TOKEN.match(token)
    found = tx.get(kinds.SECRET, SYSTEM_NAMESPACE, f"{_PREFIX}{match[1]}") if match else None
    if match is None or found is None or found.type != TYPE:
        raise Forbidden(_WRONG)
    if not hmac.compare_digest(found.data.get("token-hash", b""), _hash(match[2])) or _expiry(found) < now:
        raise Forbidden(_WRONG)
    return found


def bound_to(stored: Any) -> str:
    """The node that the token is for; empty for any new one."""
    return bytes(stored.data.get("node", b"")).decode("ascii", "replace")


def is_used(stored: Any) -> bool:
    """Whether a host has joined with the token."""
    return "used-by" in stored.data


def spend(tx: Tx, token: str, joining: Joining, *, now: float) -> bool:
    """Use a token up; False when this very request has done so before. Raises Forbidden."""
    stored = check(tx, token, now=now)
    if bound_to(stored) not in ("", joining.node):
        raise Forbidden("the join token is for another node name")
    mark = f"{joining.node} {joining.key_hash}".encode()
    if used := stored.data.get("used-by"):
        if used != mark:
            raise Forbidden(_WRONG)
        return False
    stored.data["used-by"] = mark
    tx.put(kinds.SECRET, stored)
    return True


def _expiry(stored: Any) -> float:
    """Seconds since the epoch, from a number or as Kubernetes' tokens have it: never without `expires-at`, long ago for one
    that is no time."""
    if "expires-at" not in stored.data:
        return math.inf
    text = bytes(stored.data["expires-at"]).decode("ascii", "replace")
    if text.isdigit() and len(text) < 16:
        return float(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return found.timestamp() if found.tzinfo is not None else 0.0


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).hexdigest().encode()
