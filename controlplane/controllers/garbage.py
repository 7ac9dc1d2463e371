"""Garbage collection by owner: an object whose owners are all gone is deleted. Root kind: any that has owners.

Every dependent is reconciled by its own key, and so in a transaction of its own: an owner may have any number of dependents,
and one that cannot be deleted delays no other. Only an owner that is deleted with the policies Foreground or Orphan waits, by
the finalizer of that name, so what is left to do survives a restart.

An owner is looked up in the dependent's namespace, or in none when its kind has none. A cluster-scoped dependent cannot have a
namespaced owner: that reference can never be resolved, so nothing is concluded from it. Source: "Garbage Collection" and
"Owners and Dependents" in Kubernetes' documentation, and the garbage collector of kube-controller-manager.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from controlplane import events
from controlplane.controllers.budget import WriteBudget
from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.resources.indexes import OWNER
from controlplane.store import Event, StoredObject, Tx
from pinnace import kinds
from pinnace.clock import RandomIds
from pinnace.kinds import Kind
from pinnace.wellknown import FINALIZER_FOREGROUND, FINALIZER_ORPHAN

SOURCE = "garbage-collector-controller"
# Seconds until a waiting owner looks at its dependents again; their deletion wakes it earlier.
WAIT = 30.0
# References of one object that are examined for a wrong namespace: each is looked for in every namespace.
EXAMINED = 10
# Kinds that are many, short-lived and never owned.
_IGNORED = (kinds.EVENT, kinds.LEASE)


class Owner(enum.Enum):
    """What an ownerReference refers to."""

    PRESENT = enum.auto()
    ABSENT = enum.auto()
    # Deleted in the foreground: it waits for this dependent.
    WAITING = enum.auto()
    # Of a kind that is not served, or one that a cluster-scoped dependent cannot have.
    UNKNOWN = enum.auto()


class Garbage:
    name = "garbage"
    watches: tuple[Kind, ...] = ()

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        if event.row.kind in _IGNORED:
            return
        old = event.old.message.metadata if event.old is not None else None
        if event.new is None:
            yield from (_key(child) for child in _dependents(view, event.row.message.metadata.uid))
            yield from _owners(view, old)
            return
        meta = event.new.message.metadata
        if old is None or list(old.ownerReferences) != list(meta.ownerReferences):
            if meta.ownerReferences:
                yield _key(event.new)
            yield from _owners(view, old)
        if _waits(meta, FINALIZER_ORPHAN) or _waits(meta, FINALIZER_FOREGROUND):
            yield _key(event.new)
        if _waits(meta, FINALIZER_FOREGROUND) and not (old and _waits(old, FINALIZER_FOREGROUND)):
            yield from (_key(child) for child in _dependents(view, meta.uid))

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        resource, namespace, name = key.split("/", 2)
        kind = next((kind for kind in tx.kinds if kind.resource == resource), None)
        message = tx.get(kind, namespace, name) if kind else None
        if kind is None or message is None:
            return None
        if not message.metadata.deletionTimestamp.seconds:
            _judge(tx, kind, message, now)
        elif FINALIZER_ORPHAN in message.metadata.finalizers:
            return _orphan(tx, kind, message)
        elif FINALIZER_FOREGROUND in message.metadata.finalizers:
            return _foreground(tx, kind, message)
        return None


def _judge(tx: Tx, kind: Kind, message: Any, now: Moment) -> None:
    """Delete the object if its owners are gone; drop references to those that are gone from one that keeps another."""
    references = list(message.metadata.ownerReferences)
    found = [_owner(tx, kind, message, reference) for reference in references]
    for reference, owner in itertools.islice(zip(references, found, strict=True), EXAMINED):
        if _misplaced(tx, kind, message, reference, owner):
            text = f"ownerRef [{_text(reference)}] does not exist in namespace {message.metadata.namespace!r}"
            events.record(tx, message, "OwnerRefInvalidNamespace", text, source=SOURCE, now=now.wall, warning=True, kind=kind)
    if not references or Owner.UNKNOWN in found:
        return
    if Owner.PRESENT in found:
        kept = [reference for reference, owner in zip(references, found, strict=True) if owner is Owner.PRESENT]
        if len(kept) < len(references):
            _keep_references(tx, kind, message, kept)
        return
    _delete(tx, kind, message, now, waited_for=Owner.WAITING in found)


def _delete(tx: Tx, kind: Kind, message: Any, now: Moment, *, waited_for: bool) -> None:
    """Delete a dependent. One that its owner waits for and that has dependents of its own is deleted after these."""
    dependents = list(_dependents(tx, message.metadata.uid)) if waited_for else []
    if any(_waits(row.message.metadata, FINALIZER_FOREGROUND) for row in dependents):
        # A cycle, in which each would wait for the other.
        for reference in message.metadata.ownerReferences:
            reference.blockOwnerDeletion = False
        tx.put(kind, message)
    call, propagation = verbs.Call(now.wall, RandomIds()), verbs.FOREGROUND if dependents else ""
    verbs.delete(tx, kind, message.metadata.namespace, message.metadata.name, call, propagation=propagation)


def _owner(tx: Tx, kind: Kind, message: Any, reference: Any) -> Owner:
    owner_kind = tx.kinds.owner(reference.apiVersion, reference.kind)
    if owner_kind is None or (owner_kind.namespaced and not kind.namespaced):
        return Owner.UNKNOWN
    # Untracked, however many they are: a UID that is absent after its dependent was seen never comes back.
    row = tx.get_untracked(owner_kind, message.metadata.namespace if owner_kind.namespaced else "", reference.name)
    if row is None or row.message.metadata.uid != reference.uid:
        return Owner.ABSENT
    return Owner.WAITING if _waits(row.message.metadata, FINALIZER_FOREGROUND) else Owner.PRESENT


def _waits(meta: Any, finalizer: str) -> bool:
    """Whether an object is deleted and this finalizer keeps it."""
    return bool(meta.deletionTimestamp.seconds) and finalizer in meta.finalizers


def _misplaced(tx: Tx, kind: Kind, message: Any, reference: Any, owner: Owner) -> bool:
    """Whether the reference names an object of a namespace that is not the dependent's."""
    owner_kind = tx.kinds.owner(reference.apiVersion, reference.kind)
    if owner_kind is None or not owner_kind.namespaced:
        return False
    if not kind.namespaced:
        return True
    return owner is Owner.ABSENT and any(uid == reference.uid for uid in _uids(tx, owner_kind, reference.name))


def _uids(tx: Tx, kind: Kind, name: str) -> Iterator[str]:
    """UIDs of the objects of a name, in every namespace."""
    for namespace in tx.list_untracked(kinds.NAMESPACE):
        row = tx.get_untracked(kind, namespace.key.rsplit("/", 1)[1], name)
        if row is not None:
            yield row.message.metadata.uid


def _foreground(tx: Tx, kind: Kind, owner: Any) -> Requeue | None:
    """Remove the finalizer once no dependent blocks the deletion; the dependents delete themselves (`_judge`)."""
    if any(_blocks(row.message, owner) for row in _dependents(tx, owner.metadata.uid)):
        return Requeue(WAIT)
    _remove_finalizer(tx, kind, owner, FINALIZER_FOREGROUND)
    return None


def _blocks(child: Any, owner: Any) -> bool:
    """Another object, that is: one that owns itself would wait for ever."""
    return child.metadata.uid != owner.metadata.uid and any(
        ref.uid == owner.metadata.uid and ref.blockOwnerDeletion for ref in child.metadata.ownerReferences
    )


def _orphan(tx: Tx, kind: Kind, owner: Any) -> Requeue | None:
    """Remove the owner from its dependents, as many as one transaction takes; then the finalizer."""
    budget = WriteBudget()
    for row in _dependents(tx, owner.metadata.uid):
        if not budget.take(len(row.value)):
            return Requeue(0.0)
        child = tx.get(row.kind, row.message.metadata.namespace, row.message.metadata.name)
        if child is not None:
            kept = [ref for ref in child.metadata.ownerReferences if ref.uid != owner.metadata.uid]
            _keep_references(tx, row.kind, child, kept)
    _remove_finalizer(tx, kind, owner, FINALIZER_ORPHAN)
    return None


def _keep_references(tx: Tx, kind: Kind, message: Any, kept: list[Any]) -> None:
    del message.metadata.ownerReferences[:]
    message.metadata.ownerReferences.extend(kept)
    tx.put(kind, message)


def _remove_finalizer(tx: Tx, kind: Kind, message: Any, finalizer: str) -> None:
    message.metadata.finalizers.remove(finalizer)
    verbs.settle(tx, kind, message)


def _owners(view: Tx, meta: Any | None) -> Iterator[str]:
    """Keys of an object's owners, one of which may wait for it."""
    if meta is None:
        return
    for reference in meta.ownerReferences:
        kind = view.kinds.owner(reference.apiVersion, reference.kind)
        if kind is not None:
            yield _name(kind, meta.namespace, reference.name)


def _dependents(tx: Tx, uid: str) -> Iterator[StoredObject]:
    """Objects that name the owner of this UID."""
    for kind in tx.kinds:
        if kind not in _IGNORED:
            yield from tx.by_index(kind, OWNER, uid)


def _key(row: StoredObject) -> str:
    namespace, name = row.key.rsplit("/", 2)[1:]
    return _name(row.kind, namespace, name)


def _name(kind: Kind, namespace: str, name: str) -> str:
    return f"{kind.resource}/{namespace if kind.namespaced else ''}/{name}"


def _text(reference: Any) -> str:
    return f"{reference.apiVersion}/{reference.kind}, namespace: , name: {reference.name}, uid: {reference.uid}"
