"""Actions on objects: requests that are created below an object, change it, perhaps delete it, and are not stored."""

from __future__ import annotations

from typing import Any

from controlplane.requests import deletion, verbs
from controlplane.requests.deletion import DeleteOptions
from controlplane.requests.verbs import Call
from controlplane.resources.resource import Action, Resource
from controlplane.store import Tx
from pinnace.meta.v1 import rest_pb2


def perform(
    tx: Tx, resource: Resource, action: Action[Any, Any], namespace: str, name: str, request: Any, call: Call
) -> None:  # fmt: skip
    """Raises NotFound, Invalid, Conflict, Forbidden, TooManyRequests."""
    stored = verbs.find(tx, resource.kind, namespace, name)
    removal = action.perform(tx, stored, request, call.now)
    if removal is not None:
        deletion.delete(tx, resource.kind, namespace, name, read_options(removal), now=call.now)


def read_options(given: rest_pb2.DeleteOptions) -> DeleteOptions:
    grace = given.gracePeriodSeconds if given.HasField("gracePeriodSeconds") else None
    return DeleteOptions(grace, given.preconditions.uid, given.preconditions.resourceVersion, given.propagationPolicy)


def is_dry_run(request: Any) -> bool:
    """Whether the delete options in a request say so, as kubectl's do."""
    given = getattr(request, "deleteOptions", None)
    return given is not None and "All" in given.dryRun
