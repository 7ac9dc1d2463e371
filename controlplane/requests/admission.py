"""Admission in a request: defaults, plugins that may change the object, the kind's strategy, validation, plugins that check.

The order is Kubernetes': a plugin sees the defaults, and validation sees what plugins changed.
"""

from __future__ import annotations

from typing import Any, TypeVar

from controlplane.requests import sizes
from controlplane.resources.plugin import CREATE, DELETE, UPDATE, Attributes, Caller
from controlplane.resources.registry import Registry
from controlplane.resources.resource import Resource
from controlplane.store import Tx
from pinnace import admission
from pinnace.admission.kindrules import KindRules

T = TypeVar("T")


def complete(resource: Resource[T], new: T, *, old: T | None = None, subresource: str = "") -> None:
    """Set the defaults of an object that is created, or that replaces `old`, through a subresource if one is given.
    Raises Invalid, TooLarge."""
    # An apply may have made it of two.
    sizes.check_message(resource.kind, new)  # type: ignore[arg-type]
    admission.default(new, _rules(resource, subresource), old=old)


def admit(
    tx: Tx, resource: Resource[T], new: T, *, old: T | None = None, now: float, caller: Caller | None = None,
    subresource: str = "",
) -> None:  # fmt: skip
    """Change and check a complete object that `caller` writes. Raises Invalid, Forbidden, NotFound, TooLarge."""
    plugins = Registry.of(tx).plugins
    request = Attributes(CREATE if old is None else UPDATE, resource, new, old, now, caller, subresource)
    rules = _rules(resource, subresource)
    for plugin in plugins:
        plugin.admit(tx, request)
    if old is None:
        resource.strategy.prepare_for_create(new)
    else:
        resource.strategy.prepare_for_update(new, old)
    admission.validate(resource.kind, new, rules, old=old)
    for plugin in plugins:
        plugin.validate(tx, request)


def _rules(resource: Resource[T], subresource: str) -> KindRules[T]:
    part = resource.subresource(subresource) if subresource else None
    return resource.rules if part is None or part.rules is None else part.rules


def admit_delete(tx: Tx, resource: Resource[Any], stored: Any, *, now: float) -> None:
    """Raises Forbidden for an object that may not be deleted."""
    for plugin in Registry.of(tx).plugins:
        plugin.validate(tx, Attributes(DELETE, resource, None, stored, now))
