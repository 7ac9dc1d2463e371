"""Parts of objects: read, patched and written in their own form, which for most is the whole object's.

An empty name of a part means the object itself, so that callers need not tell the two apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from controlplane.requests import verbs
from controlplane.requests.verbs import Call
from controlplane.resources.registry import Registry
from controlplane.resources.resource import Resource, Subresource
from controlplane.store import Tx
from pinnace.errors import BadRequest, MethodNotAllowed, NotFound
from pinnace.kinds import Kind


def form(resource: Resource, part: str) -> Resource:
    """The resource as which a part is read and written. Raises NotFound for a resource without it."""
    found = _part(resource, part) if part else None
    return found.form or resource if found is not None else resource


def _part(resource: Resource, part: str, verb: str = "") -> Subresource[Any]:
    found = resource.subresource(part)
    if found is None:
        raise NotFound(f'{resource.kind.resource} has no subresource "{part[:80]}"', kind=resource.kind.resource)
    if verb and verb not in found.verbs:
        raise MethodNotAllowed(f"{verb} is not supported on {resource.kind.resource}/{part}", kind=resource.kind.resource)
    return found


def check_applied(resource: Resource, part: str) -> None:
    """Raises BadRequest for a part that cannot be applied, or that the resource does not have."""
    found = resource.subresource(part) if part else None
    if part and (found is None or found.applied({}) is None):
        raise BadRequest(f"apply on {resource.kind.resource}/{part[:80]} is not supported: use a merge patch")


def find(tx: Tx, kind: Kind, namespace: str, name: str, part: str = "") -> Any:
    """An object, or a part of it in its form. Raises NotFound, BadRequest, MethodNotAllowed, Internal."""
    found = verbs.find(tx, kind, namespace, name)
    return _part(Registry.of(tx).resource(kind), part, "get").view(found) if part else found


def view(resource: Resource, stored: Any, part: str) -> Any:
    """What `update` or `patch` returned, in the part's form: after the commit, which gives it its resourceVersion."""
    return _part(resource, part).view(stored) if part else stored


def update(tx: Tx, kind: Kind, message: Any, call: Call, part: str = "") -> Any:
    """Replace an object, or a part of it, given in its form; returns the whole object.

    Raises NotFound, Conflict, Invalid, Forbidden, MethodNotAllowed."""
    if not part:
        return verbs.update(tx, kind, message, call)
    _part(Registry.of(tx).writable(kind), part, "update")
    return verbs.update_subresource(tx, kind, part, message, call, metadata=True)


def patch(
    tx: Tx, kind: Kind, namespace: str, name: str, change: Callable[[Kind, Any], Any], call: Call, *, part: str = ""
) -> Any:
    """Update with what `change` makes of the present state, given with its kind; returns the whole object.

    Raises what `change` and `update` raise."""
    resource = Registry.of(tx).writable(kind)
    old = verbs.find(tx, kind, namespace, name)
    if not part:
        return verbs.update(tx, kind, change(kind, old), call)
    base = _part(resource, part, "patch").base(old)
    return verbs.update_subresource(tx, kind, part, change(form(resource, part).kind, base), call, metadata=True)
