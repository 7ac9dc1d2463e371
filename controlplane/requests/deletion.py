"""Deletion: mark, wait for the grace period and the finalizers, remove.

Source: apiserver's registry/rest/delete.go (BeforeDelete) and registry/generic/registry/store.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from controlplane.requests.admission import admit_delete
from controlplane.resources.registry import Registry
from controlplane.resources.resource import Resource
from controlplane.store import Tx
from pinnace.errors import Conflict
from pinnace.kinds import Kind
from pinnace.messages import clone
from pinnace.wellknown import FINALIZER_FOREGROUND, FINALIZER_ORPHAN

T = TypeVar("T")
ORPHAN, FOREGROUND, BACKGROUND = "Orphan", "Foreground", "Background"
# Longest grace period in seconds, a century: the time at which it ends is a date of four digits.
MAX_GRACE = 3_155_760_000
# Of a negative grace period, as in Kubernetes.
SHORTEST = 1


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """`grace` in seconds, None for the object's own, below 0 for the shortest; `uid` and `version` are preconditions where they
    are not empty."""

    grace: int | None = None
    uid: str = ""
    version: str = ""
    propagation: str = ""


def delete(tx: Tx, kind: Kind[T], namespace: str, name: str, options: DeleteOptions, *, now: float) -> tuple[T, bool]:
    """Delete or mark for deletion; returns the object and whether it is gone. A repetition that changes nothing writes nothing.

    Raises NotFound, Conflict, Forbidden."""
    resource = Registry.of(tx).resource(kind)
    stored: Any = tx.require(kind, namespace, name)
    meta = stored.metadata
    if (options.uid and meta.uid != options.uid) or (options.version and meta.resourceVersion != options.version):
        raise Conflict(f'the precondition does not hold for {kind.resource} "{name}"', kind=kind.resource, name=name)
    admit_delete(tx, resource, stored, now=now)
    grace = SHORTEST if options.grace is not None and options.grace < 0 else options.grace
    before = clone(stored)
    _set_finalizer(meta, options.propagation)
    if meta.deletionTimestamp.seconds:
        _shorten(meta, grace)
    else:
        _mark(resource, stored, grace, now)
    if stored == before:
        return stored, False
    return stored, settle(tx, kind, stored)


def settle(tx: Tx, kind: Kind[T], message: T) -> bool:
    """Write an object, or remove it when it is marked for deletion and nothing keeps it; returns whether it is gone."""
    meta = message.metadata  # type: ignore[attr-defined]
    if is_settled(tx, kind, message):
        if (removed := Registry.of(tx).resource(kind).removed) is not None:
            removed(tx, message)
        tx.delete(kind, meta.namespace, meta.name)
        return True
    tx.put(kind, message)
    return False


def is_settled(tx: Tx, kind: Kind[T], message: T) -> bool:
    """Whether an object is marked for deletion and nothing keeps it."""
    meta = message.metadata  # type: ignore[attr-defined]
    if not meta.deletionTimestamp.seconds or meta.finalizers:
        return False
    return Registry.of(tx).resource(kind).strategy.is_settled(message)


def _set_finalizer(meta: Any, propagation: str) -> None:
    """The finalizer by which the garbage collector sees what becomes of the dependents. A policy replaces the one before; a
    pending graceful deletion keeps what it has."""
    if not propagation or (meta.deletionTimestamp.seconds and meta.deletionGracePeriodSeconds):
        return
    wanted = {FOREGROUND: FINALIZER_FOREGROUND, ORPHAN: FINALIZER_ORPHAN}.get(propagation)
    for name in (FINALIZER_FOREGROUND, FINALIZER_ORPHAN):
        if name in meta.finalizers and name != wanted:
            meta.finalizers.remove(name)
    if wanted and wanted not in meta.finalizers:
        meta.finalizers.append(wanted)


def _mark(resource: Resource, stored: Any, requested: int | None, now: float) -> None:
    meta, grace = stored.metadata, min(resource.strategy.grace_period(stored, requested), MAX_GRACE)
    meta.deletionTimestamp.seconds = int(now) + grace
    meta.deletionGracePeriodSeconds = grace
    if meta.generation:
        # Controllers behave otherwise towards an object that is being deleted.
        meta.generation += 1
    resource.strategy.prepare_for_delete(stored)


def _shorten(meta: Any, requested: int | None) -> None:
    """A shorter grace period counts from the first deletion request; a longer one is ignored."""
    pending = meta.deletionGracePeriodSeconds
    if requested is None or requested >= pending:
        return
    meta.deletionTimestamp.seconds += requested - pending
    meta.deletionGracePeriodSeconds = requested
