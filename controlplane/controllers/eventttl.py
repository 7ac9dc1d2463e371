"""Forgets events some time after they last happened. Root kind: Event."""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.controllers.runner import Requeue
from controlplane.store import Event, Tx
from pinnace import kinds

# Seconds, as in Kubernetes.
TTL = 3600.0


class EventTTL:
    name = "eventttl"

    def __init__(self, ttl: float = TTL) -> None:
        self._ttl = ttl

    def keys(self, event: Event) -> Iterable[str]:
        if event.row.kind is kinds.EVENT and event.new is not None and event.old is None:
            yield "/".join(event.row.key.split("/")[-2:])

    def reconcile(self, tx: Tx, key: str, now: float) -> Requeue | None:
        namespace, _, name = key.partition("/")
        event = tx.get(kinds.EVENT, namespace, name)
        if event is None:
            return None
        left = event.lastTimestamp.seconds + self._ttl - now
        if left > 0:
            return Requeue(left)
        tx.delete(kinds.EVENT, namespace, name)
        return None
