"""Which certificates of a node are valid: those of the user UID that its last join created, while its Node exists.

Each join makes a new user `system:node:NAME` with a UID of its own, which its certificates carry (as in Kubernetes, a user
UID tells apart users of one name at different times). The record lies in a Secret of kube-system and names the Node by UID:
removing the Node, or joining again under its name, revokes all earlier certificates, on every control plane and for good.
Nothing in it is secret. Functions of a transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controlplane.access.identity import Identity
from controlplane.store import Tx
from pinnace import codec, kinds
from pinnace.errors import Unauthenticated
from pinnace.wellknown import SYSTEM_NAMESPACE

TYPE = "pinnace.dev/node-identity"


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """`node_uid`: of the Node object; `user_uid`: in its certificates; `key_hash`: of the certificate issued last."""

    node_uid: str
    user_uid: str
    key_hash: str


def record_name(node: str) -> str:
    return f"node-identity-{node}"


def find(tx: Tx, node: str) -> NodeIdentity | None:
    found = tx.get(kinds.SECRET, SYSTEM_NAMESPACE, record_name(node))
    if found is None or found.type != TYPE:
        return None
    text = {key: bytes(value).decode("ascii", "replace") for key, value in found.data.items()}
    return NodeIdentity(text.get("node-uid", ""), text.get("user-uid", ""), text.get("key-hash", ""))


def put(tx: Tx, node: Any, identity: NodeIdentity, *, now: float) -> None:
    """Record the identity of a Node. Certificates with another user UID are no longer valid."""
    name = record_name(node.metadata.name)
    record: Any = tx.get(kinds.SECRET, SYSTEM_NAMESPACE, name)
    if record is None:
        record = kinds.SECRET.cls()
        record.metadata.name, record.metadata.namespace = name, SYSTEM_NAMESPACE
        record.metadata.creationTimestamp.CopyFrom(codec.time_of(now))
    record.type = TYPE
    for key, value in (("node-uid", identity.node_uid), ("user-uid", identity.user_uid), ("key-hash", identity.key_hash)):
        record.data[key] = value.encode()
    tx.put(kinds.SECRET, record)


def delete(tx: Tx, node: str) -> None:
    """Delete the record of a deleted Node. Its certificates were invalid before."""
    tx.delete(kinds.SECRET, SYSTEM_NAMESPACE, record_name(node))


def verify(tx: Tx, identity: Identity) -> Any:
    """The Node that a certificate acts for. Raises Unauthenticated when the certificate is revoked."""
    name = identity.node
    node, found = tx.get(kinds.NODE, "", name), find(tx, name)
    if node is None:
        raise Unauthenticated(f'node "{name}" has been removed from the cluster: to return, it has to join again')
    # A node that joined before there were identities has neither a record nor a UID until its first renewal.
    if found is None and not identity.uid:
        return node
    if found is None or found.node_uid != node.metadata.uid or found.user_uid != identity.uid:
        raise Unauthenticated(f'this certificate of node "{name}" is revoked: the node has been removed or has joined again')
    return node


def reissue(tx: Tx, identity: Identity, *, key_hash: str, uid: str, now: float) -> str:
    """Record that a certificate for the key is issued; returns its user UID: that of the identity, or `uid` for an identity
    that has none yet. Raises Unauthenticated when the identity is revoked."""
    node = verify(tx, identity)
    user_uid = identity.uid or uid
    put(tx, node, NodeIdentity(node.metadata.uid, user_uid, key_hash), now=now)
    return user_uid
