"""Counts again what quotas count, after deletions and ends. Root kind: ResourceQuota.

Creations charge a quota themselves (`controlplane.resources.resourcequota`), so a late count never lets a namespace exceed it;
it lowers `status.used`. Keys are namespaces. A count costs as much as the namespace holds, so there is one a second at most.
Source: kube-controller-manager's resource quota controller.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.controllers.runner import Moment, Requeue
from controlplane.resources.registry import Registry
from controlplane.resources.resourcequota import Counter, set_status
from controlplane.store import Event, Tx
from pinnace import kinds
from pinnace.kinds import Kind
from pinnace.messages import clone

# Seconds between two counts of a namespace at least, and at most: some usage ends by time alone.
SHORTEST, LONGEST = 1.0, 300.0


class ResourceQuotas:
    name = "resourcequota"
    watches: tuple[Kind, ...] = ()

    def __init__(self) -> None:
        # When each namespace was last counted.
        self._counted: dict[str, Moment] = {}
        self._counter = Counter()

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        row = event.row
        if not row.kind.namespaced:
            return
        namespace = row.key.split("/")[-2]
        counted = any(True for _ in view.list_untracked(kinds.RESOURCE_QUOTA, namespace))
        if row.kind is kinds.RESOURCE_QUOTA or (counted and _frees(event, view)):
            yield namespace

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        quotas = tx.list(kinds.RESOURCE_QUOTA, key)
        if not quotas:
            self._counted.pop(key, None)
            return None
        last = self._counted.get(key)
        # The same moment: the same count, in a transaction that conflicted.
        if last is not None and last is not now and now.watched - last.watched < SHORTEST:
            return Requeue(SHORTEST - (now.watched - last.watched))
        for quota in quotas:
            counted = clone(quota)
            set_status(counted, self._counter.count(tx, quota, now=now.wall))
            if counted != quota:
                tx.put(kinds.RESOURCE_QUOTA, counted)
        self._counted[key] = now
        return Requeue(LONGEST)


def _frees(event: Event, view: Tx) -> bool:
    """Whether the object was deleted, or uses something else than before; what time alone ends is counted every LONGEST."""
    if event.new is None or event.old is None:
        return event.new is None
    strategy = Registry.of(view).resource(event.row.kind).strategy
    if not strategy.quota_resources:
        return False
    return strategy.quota_usage(event.old.message, 0.0) != strategy.quota_usage(event.new.message, 0.0)
