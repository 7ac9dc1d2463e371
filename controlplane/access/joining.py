"""`/join` and `/renew`: how a host gets a node's certificate without having a valid one.

/join   a token and a signing request; makes the Node and its identity, and uses the token up, in one transaction.
/renew  the node's last certificate, which may have expired while the node or the control plane was off, proof of its key, and
        a signing request. Only the certificate that was issued last, and only for a while: an old backup of a node opens
        nothing. A running agent renews with the RPC instead, as long as its certificate is valid.

Anyone may send these requests: what is cheap to check is checked first, the token before any cryptography.
"""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import dataclass
from typing import Any

from controlplane import conditions, tokens
from controlplane.access import nodeidentity
from controlplane.access.identity import NODE_PREFIX, NODES, Identity, of_certificate
from controlplane.access.nodeidentity import NodeIdentity
from controlplane.dispatcher import reports
from controlplane.dispatcher.podcidrs import PodCIDRs
from controlplane.http.messages import Access, Request, Response, Route
from controlplane.resources.indexes import NODE
from controlplane.store import Store, Tx, origin
from controlplane.turns import Turns
from pinnace import certificate, csr, kinds, labclock, nodename, pki
from pinnace.clock import Clock, Ids
from pinnace.errors import AlreadyExists, BadRequest, Conflict, Forbidden, Unauthenticated

log = logging.getLogger("pinnace.joining")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a node gets. `lifetime` of its certificate and the `window` in which an expired one may be renewed in seconds;
    `server` is the gRPC endpoint."""

    lifetime: float
    window: float
    server: str


class Joining:
    def __init__(self, store: Store, clock: Clock, ids: Ids, *, ca: pki.Pair, terms: Terms, cidrs: PodCIDRs) -> None:
        self._store = store
        self._clock = clock
        # Certificates are of the machine's time, and tokens of the cluster's.
        self._machine = labclock.machine(clock)
        self._ids = ids
        self._ca = ca
        self._terms = terms
        self._cidrs = cidrs
        # Half a millisecond of cryptography before the transaction, and again after it.
        self._turns = Turns()

    def routes(self) -> dict[str, Route]:
        return {"/join": Route(Access.PUBLIC, self._join, "POST"), "/renew": Route(Access.PUBLIC, self._renew, "POST")}

    async def _join(self, request: Request) -> Response:
        name, token, text = _strings(request, "node", "token", "csr")
        await self._turns.offer()
        now, uid = self._clock.now(), self._ids.uid()
        self._store.view(lambda tx: tokens.check(tx, token, now=now))
        nodename.check(name)
        # A mistake in the request does not use the token up.
        asked = csr.SigningRequest.parse(text.encode(), NODE_PREFIX + name, (NODES,))
        joining = tokens.Joining(name, asked.key_hash)
        try:
            with origin.acting("join"):
                uid = await self._store.update(lambda tx: self._admit(tx, token, joining, uid=uid, now=now))
        except BaseException:
            # Of a Node that exists, perhaps by another join of the same moment, the watch settles the subnet.
            if self._store.row(kinds.NODE, kinds.NODE.key("", name)) is None:
                self._cidrs.release(name)
            raise
        log.info("node_joined node=%s", name)
        return await self._answer(asked, uid)

    def _admit(self, tx: Tx, token: str, joining: tokens.Joining, *, uid: str, now: float) -> str:
        """Make the Node, or take one over that no agent serves; returns the user UID for its certificate."""
        bound = tokens.bound_to(tokens.check(tx, token, now=now))
        if not tokens.spend(tx, token, joining, now=now):
            return _repeated(tx, joining)
        node = tx.get(kinds.NODE, "", joining.node)
        if node is not None:
            _check_free(node, bound=bool(bound))
        elif not bound:
            _check_unused(tx, joining.node)
        node = reports.ensure(tx, joining.node, cidrs=self._cidrs, ids=self._ids, now=now)
        nodeidentity.put(tx, node, NodeIdentity(node.metadata.uid, uid, joining.key_hash), now=now)
        return uid

    async def _renew(self, request: Request) -> Response:
        old, text, proof = _strings(request, "certificate", "csr", "proof")
        await self._turns.offer()
        now = self._machine.now()
        pem, identity = self._last(old, now)
        found = self._store.view(lambda tx: nodeidentity.find(tx, identity.node))
        asked = csr.SigningRequest.parse(text.encode(), identity.user, identity.groups)
        # Its own key also counts: then the answer to this very request was lost.
        if found is None or found.key_hash not in (pki.key_hash(pem), asked.key_hash):
            raise Unauthenticated(f'a newer certificate of node "{identity.node}" has been issued: join again')
        if not csr.verify(pem, text.encode(), _signature(proof)):
            raise Unauthenticated("the proof is not a signature of the request by the certificate's key")
        await self._store.update(
            lambda tx: nodeidentity.reissue(tx, identity, key_hash=asked.key_hash, uid=identity.uid, now=now)
        )
        log.info("node_certificate_renewed node=%s expired=%s", identity.node, identity.expires < now)
        return await self._answer(asked, identity.uid)

    def _last(self, text: str, now: float) -> tuple[bytes, Identity]:
        """The certificate and who it is of. Raises Unauthenticated unless it is a node's of this cluster, is not revoked, and
        expired recently if at all."""
        try:
            pem = certificate.canonical(text.encode())
            identity = of_certificate(pem) if pki.signed_by(pem, self._ca.certificate) else None
        except ValueError:
            identity = None
        if identity is None or not identity.node or not identity.uid:
            raise Unauthenticated("not a certificate of a node of this cluster")
        self._store.view(lambda tx: nodeidentity.verify(tx, identity))
        if now - identity.expires > self._terms.window:
            raise Unauthenticated(
                f'the certificate of node "{identity.node}" expired more than {self._terms.window:.0f} s ago: join again '
                f"(kctl node join-command {identity.node})"
            )
        return pem, identity

    async def _answer(self, asked: csr.SigningRequest, uid: str) -> Response:
        await self._turns.offer()
        signed = asked.sign(self._ca, now=self._machine.now(), lifetime=self._terms.lifetime, uid=uid)
        answer = {
            "certificate": signed.decode(),
            "ca": self._ca.certificate.decode(),
            "server": self._terms.server,
        }
        return Response(json.dumps(answer).encode(), "application/json")


def _check_free(node: Any, *, bound: bool) -> None:
    """Raises AlreadyExists, Conflict for a node whose name may not be taken over."""
    name = node.metadata.name
    if not bound:
        raise AlreadyExists(
            f'node "{name}" exists: join under another name (--node-name), remove it (kctl delete node {name}), '
            f"or get a token for this node (kctl node join-command {name})"
        )
    ready = conditions.find(node.status, "Ready")
    if ready is not None and ready.status == "True":
        raise Conflict(f'node "{name}" is Ready: stop its agent and wait until it is NotReady, or remove the node')


def _check_unused(tx: Tx, name: str) -> None:
    """Raises AlreadyExists for a name without a Node that pods have: the host would receive them and their Secrets.

    They are those of a node that was removed lately, and those that a manifest gives to a node to come. A pod that is given
    the name later is given to the host that has it."""
    if pod := next(iter(tx.by_index(kinds.POD, NODE, name)), None):
        namespace, found = pod.message.metadata.namespace, pod.message.metadata.name
        raise AlreadyExists(
            f'pods are assigned to node "{name}", such as {namespace}/{found}: join under another name (--node-name), '
            f"or get a token for this node (kctl node join-command {name})"
        )


def _repeated(tx: Tx, joining: tokens.Joining) -> str:
    """The user UID that the first of several equal requests was given. Raises Forbidden when it is outdated."""
    node, found = tx.get(kinds.NODE, "", joining.node), nodeidentity.find(tx, joining.node)
    if node is None or found is None or (found.node_uid, found.key_hash) != (node.metadata.uid, joining.key_hash):
        raise Forbidden("the join token is wrong, used up or expired")
    return found.user_uid


def _strings(request: Request, *keys: str) -> tuple[str, ...]:
    """The members of a JSON object. Raises BadRequest."""
    try:
        asked = json.loads(request.body)
        found = tuple(asked[key] for key in keys)
    except (ValueError, KeyError, TypeError, RecursionError):
        found = ()
    if not found or not all(isinstance(value, str) and value.isascii() for value in found):
        raise BadRequest(f"expected a JSON object with the strings {', '.join(keys)}")
    return found


def _signature(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise BadRequest("proof must be base64") from None
