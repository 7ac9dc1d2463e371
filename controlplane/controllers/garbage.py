"""Owner garbage collection: an object whose owners are all gone goes too. Root kind: any that has owners.

Keys are `Kind/namespace/name` of dependents; when an owner goes, its dependents are looked up by uid.
Source: the garbage collection concept page of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane.api import verbs
from controlplane.controllers.runner import Requeue
from controlplane.store import Event, Tx
from pinnace import kinds
from pinnace.clock import RandomIds

_KINDS = {kind.kind: kind for kind in kinds.ALL}


class Garbage:
    name = "garbage"

    def __init__(self) -> None:
        # owner uid -> keys of its dependents; and back, so that a dependent's going is noticed.
        self._dependents: dict[str, set[str]] = {}
        self._owners: dict[str, set[str]] = {}

    def keys(self, event: Event) -> Iterable[str]:
        row = event.row
        if row.kind in (kinds.EVENT, kinds.LEASE):
            return
        key = _key(row.kind.kind, row.key)
        message = row.parse()
        owners = {ref.uid for ref in message.metadata.ownerReferences} if event.new is not None else set()
        for gone in self._owners.pop(key, set()) - owners:
            self._dependents.get(gone, set()).discard(key)
        if owners:
            self._owners[key] = owners
            for uid in owners:
                self._dependents.setdefault(uid, set()).add(key)
            yield key
        if event.new is None:
            yield from self._dependents.pop(message.metadata.uid, set())
        for ref in message.metadata.ownerReferences:
            if event.new is None and ref.kind in _KINDS:
                namespace = message.metadata.namespace if _KINDS[ref.kind].namespaced else ""
                yield f"{ref.kind}/{namespace}/{ref.name}"
        if verbs.FOREGROUND_FINALIZER in message.metadata.finalizers:
            yield key

    def reconcile(self, tx: Tx, key: str, now: float) -> Requeue | None:
        kind_name, namespace, name = key.split("/", 2)
        kind = _KINDS[kind_name]
        message = tx.get(kind, namespace, name)
        if message is None:
            return None
        call = verbs.Call(now, RandomIds())
        if message.metadata.deletionTimestamp.seconds:
            return self._foreground(tx, kind, message, call)
        owners = message.metadata.ownerReferences
        if owners and not any(_alive(tx, namespace, ref) for ref in owners):
            verbs.delete(tx, kind, namespace, name, call)
        return None

    def _foreground(self, tx: Tx, kind: kinds.Kind, message: Any, call: verbs.Call) -> Requeue | None:
        if verbs.FOREGROUND_FINALIZER not in message.metadata.finalizers:
            return None
        left = 0
        for key in sorted(self._dependents.get(message.metadata.uid, ())):
            left += _take_down(tx, key, message.metadata.uid, call)
        if left:
            return Requeue(1.0)
        message.metadata.finalizers.remove(verbs.FOREGROUND_FINALIZER)
        if verbs.settled(kind, message):
            tx.delete(kind, message.metadata.namespace, message.metadata.name)
        else:
            tx.put(kind, message)
        return None


def _take_down(tx: Tx, key: str, owner: str, call: verbs.Call) -> bool:
    """Delete a dependent of `owner`; returns whether it is still there. One with another owner alive is let off."""
    kind_name, namespace, name = key.split("/", 2)
    kind = _KINDS[kind_name]
    child = tx.get(kind, namespace, name)
    if child is None:
        return False
    others = [ref for ref in child.metadata.ownerReferences if ref.uid != owner]
    if any(_alive(tx, namespace, ref) for ref in others):
        del child.metadata.ownerReferences[:]
        child.metadata.ownerReferences.extend(others)
        tx.put(kind, child)
        return False
    if not child.metadata.deletionTimestamp.seconds:
        verbs.delete(tx, kind, namespace, name, call, propagation=verbs.FOREGROUND)
    return True


def _key(kind: str, stored: str) -> str:
    parts = stored.split("/")
    namespace = parts[-2] if _KINDS[kind].namespaced else ""
    return f"{kind}/{namespace}/{parts[-1]}"


def _alive(tx: Tx, namespace: str, ref: Any) -> bool:
    kind = _KINDS.get(ref.kind)
    if kind is None:
        # An owner of a kind that nobody serves here cannot be judged.
        return True
    owner = tx.get(kind, namespace if kind.namespaced else "", ref.name)
    return owner is not None and owner.metadata.uid == ref.uid
