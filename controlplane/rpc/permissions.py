"""Whether the caller of an RPC may do what it asks for. Each method checks for itself, on the attributes of its request.

The guard says who calls (`calling`), for as long as a call lasts; the services ask here before they read or write anything.
What they have asked, the guard tells the audit log.
A method that is called within the process, without the guard, is called by the control plane itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from controlplane.access import attributes, authorizer
from controlplane.access.attributes import Attributes
from controlplane.access.authorizer import Authorizer
from controlplane.access.identity import Identity
from controlplane.store import origin
from pinnace.errors import Unauthenticated
from pinnace.kinds import Kind

# Questions of one call that are kept. An Apply has two for each of its objects, and the audit log needs none of them.
MAX_ASKED = 10
_caller: ContextVar[Identity | None] = ContextVar("caller", default=None)
_asked: ContextVar[list[Attributes] | None] = ContextVar("asked", default=None)


@contextmanager
def calling(identity: Identity, asked: list[Attributes] | None = None) -> Iterator[None]:
    """Around a call; what it asks permission for comes to `asked`. Of a stream's generator, its caller runs every step in one
    task."""
    tokens = _caller.set(identity), _asked.set(asked)
    try:
        with origin.acting(identity.user):
            yield
    finally:
        # A generator that is closed by another task leaves the variables of that task alone.
        try:
            _caller.reset(tokens[0])
            _asked.reset(tokens[1])
        except ValueError:
            pass


def note(request: Attributes) -> None:
    """For the audit log: what the present call is about, where others decide on it."""
    asked = _asked.get()
    if asked is not None and len(asked) < MAX_ASKED:
        asked.append(request)


class Permissions:
    """Checks calls by an authorizer; without one, calls of this process itself, which may do everything."""

    def __init__(self, authorizer: Authorizer | None = None) -> None:
        self._authorizer = authorizer

    @property
    def caller(self) -> Identity | None:
        """Who calls; None for the control plane itself. Raises Unauthenticated for a call that came without the guard."""
        identity = _caller.get()
        if identity is None and self._authorizer is not None:
            raise Unauthenticated("the call has no caller")
        return identity

    def on(self, verb: str, kind: Kind, *, namespace: str = "", name: str = "", subresource: str = "") -> None:
        """Raises Forbidden unless the caller may do this to objects of the kind."""
        identity = self.caller
        if self._authorizer is not None and identity is not None:
            request = attributes.on(identity, verb, kind, namespace=namespace, name=name, subresource=subresource)
            note(request)
            origin.note(verb=verb, subresource=subresource)
            authorizer.require(self._authorizer, request)

    def at(self, verb: str, path: str) -> None:
        """Raises Forbidden unless the caller may do this to a path."""
        identity = self.caller
        if self._authorizer is not None and identity is not None:
            authorizer.require(self._authorizer, attributes.at(identity, verb, path))
