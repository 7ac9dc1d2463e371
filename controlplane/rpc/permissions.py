"""Whether the caller of an RPC may do what it asks for. Each method checks for itself, on the attributes of its request.

The guard says who calls (`calling`), for as long as a call lasts; the services ask here before they read or write anything.
A method that is called within the process, without the guard, is called by the control plane itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from controlplane.access import attributes, authorizer
from controlplane.access.authorizer import Authorizer
from controlplane.access.identity import Identity
from pinnace.errors import Unauthenticated
from pinnace.kinds import Kind

_caller: ContextVar[Identity | None] = ContextVar("caller", default=None)


@contextmanager
def calling(identity: Identity) -> Iterator[None]:
    """Around a call. Of a stream's generator, its caller runs every step in one task."""
    token = _caller.set(identity)
    try:
        yield
    finally:
        # A generator that is closed by another task leaves the variable of that task alone.
        try:
            _caller.reset(token)
        except ValueError:
            pass


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
            authorizer.require(self._authorizer, request)

    def at(self, verb: str, path: str) -> None:
        """Raises Forbidden unless the caller may do this to a path."""
        identity = self.caller
        if self._authorizer is not None and identity is not None:
            authorizer.require(self._authorizer, attributes.at(identity, verb, path))
