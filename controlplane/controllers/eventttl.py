"""Deletes events some time after they last happened. Root kind: Event.

Each has a transaction of its own; those that end together share commits, as far as these reach.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.controllers.runner import Moment, Requeue
from controlplane.store import Event, Tx
from pinnace import kinds
from pinnace.core.v1.event_pb2 import Event as Message
from pinnace.kinds import Kind

# Seconds, as in Kubernetes.
TTL = 3600.0


class EventTTL:
    name = "eventttl"
    watches: tuple[Kind, ...] = (kinds.EVENT,)

    def __init__(self, ttl: float = TTL) -> None:
        self._ttl = ttl
        # Key to the watched time at which the event is deleted.
        self._due: dict[str, float] = {}

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        key = "/".join(event.row.key.split("/")[-2:])
        if event.new is None:
            self._due.pop(key, None)
        elif event.old is None:
            yield key
        elif key in self._due:
            # It happened again. The reconciliation that is due earlier finds that out.
            self._due[key] = watched + self._ttl

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace, _, name = key.partition("/")
        event = tx.get(kinds.EVENT, namespace, name)
        if event is None:
            return None
        # Read once, when it is new to this process: a later step of the wall clock changes nothing.
        age = min(max(now.wall - _last(event), 0.0), self._ttl)
        left = self._due.setdefault(key, now.watched + self._ttl - age) - now.watched
        if left > 0:
            return Requeue(left)
        tx.delete(kinds.EVENT, namespace, name)
        return None


def _last(event: Message) -> int:
    """When it last happened, in seconds since the epoch. The newer form has no lastTimestamp."""
    return max(event.lastTimestamp.seconds, event.series.lastObservedTime.seconds, event.metadata.creationTimestamp.seconds)
