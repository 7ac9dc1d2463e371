"""Every call: is the certificate of its connection still good?

The handshake has verified it, once. A connection lives longer than that, so each call checks again that the certificate has
not expired and, if it is a node's, that it is not revoked. An open call of a node (its session, its end of a stream) is ended
as soon as the store says that its certificate is revoked.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from controlplane.access import identity as identities
from controlplane.access import nodeidentity
from controlplane.access.identity import Identity
from controlplane.store import Event, Store, StoredObject
from pinnace import kinds
from pinnace.clock import Clock
from pinnace.errors import Expired, Unauthenticated
from pinnace.wellknown import SYSTEM_NAMESPACE

_RECORD = kinds.SECRET.key(SYSTEM_NAMESPACE, nodeidentity.record_name(""))


@dataclass(slots=True, eq=False)
class _OpenCall:
    """A streaming call of a node; `refusal` says why it is being ended."""

    identity: Identity
    scope: asyncio.Timeout
    refusal: Unauthenticated | None = None


class Authenticator:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._open: dict[str, set[_OpenCall]] = {}

    def of_call(self, context: Any) -> Identity:
        """Who calls. Raises Unauthenticated."""
        return self._check(identities.of_call(context))

    def of_certificate(self, certificate: bytes) -> Identity:
        """Whose certificate (PEM or DER) it is, which a handshake has verified. Raises Unauthenticated."""
        return self._check(identities.of_certificate(certificate))

    def _check(self, identity: Identity) -> Identity:
        if self._clock.now() > identity.expires:
            raise Unauthenticated(f'the client certificate of user "{identity.user}" has expired')
        if identity.node:
            self._store.view(lambda tx: nodeidentity.verify(tx, identity))
        return identities.authenticated(identity)

    @asynccontextmanager
    async def open(self, identity: Identity) -> AsyncIterator[None]:
        """Around a streaming call. Raises Unauthenticated, out of whatever the call waits for, once the node's certificate is
        revoked."""
        if not identity.node:
            yield
            return
        call = _OpenCall(identity, asyncio.timeout(None))
        calls = self._open.setdefault(identity.node, set())
        try:
            async with call.scope:
                calls.add(call)
                yield
        except TimeoutError:
            if call.refusal is None:
                raise
            raise call.refusal from None
        finally:
            calls.discard(call)
            if not calls and self._open.get(identity.node) is calls:
                del self._open[identity.node]

    async def run(self) -> None:
        """End the calls of nodes whose certificates are revoked, until cancelled."""
        while True:
            _, subscription = self._store.view_and_watch(kinds.NODE, kinds.SECRET)
            try:
                self._recheck(tuple(self._open))
                async for events in subscription:
                    self._recheck({_node_of(event.row) for event in events if _may_revoke(event)} & self._open.keys())
            except Expired:
                # Changes were missed: all are checked again.
                continue
            finally:
                subscription.close()

    def _recheck(self, nodes: Iterable[str]) -> None:
        for call in [call for node in nodes for call in self._open[node] if call.refusal is None]:
            try:
                self._store.view(functools.partial(nodeidentity.verify, identity=call.identity))
            except Unauthenticated as refusal:
                call.refusal = refusal
                call.scope.reschedule(asyncio.get_running_loop().time())


def _may_revoke(event: Event) -> bool:
    """Nodes change all the time; what makes certificates invalid is another Node of the same name, or none."""
    old, new = event.old, event.new
    if event.row.kind is kinds.SECRET or old is None or new is None:
        return True
    try:
        return bool(old.message.metadata.uid != new.message.metadata.uid)
    except DecodeError:
        return True


def _node_of(row: StoredObject) -> str:
    """The node whose certificates a changed object may revoke; empty for none."""
    if row.kind is kinds.NODE:
        return row.key.removeprefix(kinds.NODE.prefix)
    return row.key.removeprefix(_RECORD) if row.key.startswith(_RECORD) else ""
