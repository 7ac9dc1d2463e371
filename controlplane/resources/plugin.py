"""Admission plugins: checks and changes of a request that depend on other objects than the one that is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from controlplane.resources.resource import Resource
from controlplane.store import Tx

CREATE, UPDATE, DELETE = "CREATE", "UPDATE", "DELETE"


class Caller(Protocol):
    """The user that a request comes from."""

    @property
    def user(self) -> str: ...

    @property
    def uid(self) -> str: ...

    @property
    def groups(self) -> tuple[str, ...]: ...

    @property
    def extra(self) -> Mapping[str, tuple[str, ...]]: ...


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a request does. `new` is the object with its defaults, None of a DELETE; `old` the stored one, None of a CREATE.

    `now` in seconds since the epoch. `caller` None: the control plane itself. `subresource`: that an UPDATE goes through."""

    operation: str
    resource: Resource
    new: Any | None
    old: Any | None
    now: float
    caller: Caller | None = None
    subresource: str = ""

    @property
    def message(self) -> Any:
        """The object that the request is about."""
        return self.old if self.new is None else self.new


class Plugin(Protocol):
    """One rule, named as in Kubernetes. It runs in the request's transaction, which may run it several times."""

    name: str

    def admit(self, tx: Tx, request: Attributes) -> None:
        """Change `request.new`, or refuse: before validation. Raises Forbidden, NotFound."""

    def validate(self, tx: Tx, request: Attributes) -> None:
        """Refuse, or record, the object as it will be stored: after validation. Raises Forbidden."""

    def contended(self, tx: Tx, resource: Resource, namespace: str) -> str:
        """What every creation of such an object writes too, for such requests to wait for each other; usually nothing."""


class BasePlugin:
    """A plugin that does nothing, for others to override one method of."""

    name = ""

    def admit(self, tx: Tx, request: Attributes) -> None:
        return None

    def validate(self, tx: Tx, request: Attributes) -> None:
        return None

    def contended(self, tx: Tx, resource: Resource, namespace: str) -> str:
        return ""
