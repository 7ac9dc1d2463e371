"""Removes pods whose node no longer exists. Root kind: Pod.

Nobody is left to report that such a pod has stopped, so it is removed without its agent.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.controllers.runner import Requeue
from controlplane.store import Event, Tx
from pinnace import kinds

# A node that was deleted by mistake has this long to come back, in seconds.
QUARANTINE = 40.0
# Pods in one transaction: etcd takes 128 operations.
BATCH = 50


class PodGC:
    name = "podgc"

    def __init__(self) -> None:
        self._missing: dict[str, float] = {}

    def keys(self, event: Event) -> Iterable[str]:
        if event.row.kind is kinds.NODE:
            name = event.row.key.rsplit("/", 1)[1]
            if event.new is None:
                yield name
            else:
                self._missing.pop(name, None)
        elif event.row.kind is kinds.POD and event.new is not None:
            node = event.new.parse().spec.nodeName
            if node:
                yield node

    def reconcile(self, tx: Tx, key: str, now: float) -> Requeue | None:
        if tx.get(kinds.NODE, "", key) is not None:
            self._missing.pop(key, None)
            return None
        since = self._missing.setdefault(key, now)
        if now - since < QUARANTINE:
            return Requeue(QUARANTINE - (now - since))
        removed = 0
        for row in tx.peek(kinds.POD):
            pod = row.parse()
            if pod.spec.nodeName == key and not pod.metadata.finalizers:
                tx.delete(kinds.POD, pod.metadata.namespace, pod.metadata.name)
                removed += 1
            if removed == BATCH:
                return Requeue(0.0)
        return None
