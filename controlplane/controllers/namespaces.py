"""Empties a namespace that is being deleted, then lets it go. Root kind: Namespace."""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.api import verbs
from controlplane.controllers.runner import Requeue
from controlplane.store import Event, Tx
from pinnace import kinds
from pinnace.admission.namespaces import FINALIZER
from pinnace.clock import RandomIds

# Objects marked in one transaction; the next reconciliation takes the next ones.
BATCH = 50


class Namespaces:
    name = "namespaces"

    def __init__(self) -> None:
        self._terminating: set[str] = set()

    def keys(self, event: Event) -> Iterable[str]:
        row = event.row
        if row.kind is kinds.NAMESPACE:
            name = row.key.rsplit("/", 1)[1]
            if event.new is not None and event.new.parse().metadata.deletionTimestamp.seconds:
                self._terminating.add(name)
                yield name
            elif event.new is None:
                self._terminating.discard(name)
        elif row.kind.namespaced and self._terminating and event.new is None:
            namespace = row.key.split("/")[-2]
            if namespace in self._terminating:
                yield namespace

    def reconcile(self, tx: Tx, key: str, now: float) -> Requeue | None:
        namespace = tx.get(kinds.NAMESPACE, "", key)
        if namespace is None or not namespace.metadata.deletionTimestamp.seconds:
            return None
        content = [row for kind in kinds.ALL if kind.namespaced for row in tx.peek(kind, key)]
        if not content:
            # Claimed only now, so that an object created meanwhile is a conflict and not an orphan.
            if any(tx.list(kind, key) for kind in kinds.ALL if kind.namespaced):
                return Requeue(0.0)
            kept = [name for name in namespace.spec.finalizers if name != FINALIZER]
            del namespace.spec.finalizers[:]
            namespace.spec.finalizers.extend(kept)
            if verbs.settled(kinds.NAMESPACE, namespace):
                tx.delete(kinds.NAMESPACE, "", key)
            else:
                tx.put(kinds.NAMESPACE, namespace)
            return None
        call = verbs.Call(now, RandomIds())
        waiting = [row for row in content if not row.parse().metadata.deletionTimestamp.seconds]
        for row in waiting[:BATCH]:
            name = row.key.rsplit("/", 1)[1]
            if tx.get(row.kind, key, name) is not None:
                verbs.delete(tx, row.kind, key, name, call)
        return Requeue(0.0) if waiting else Requeue(5.0)
