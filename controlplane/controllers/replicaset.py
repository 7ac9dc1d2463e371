"""Keeps the number of pods that a ReplicaSet wants. Root kind: ReplicaSet.

One transaction creates or deletes up to BATCH pods and writes the status that follows, so a pod is never created twice: the
next transaction sees those of the one before. A pod that cannot be created ends the batch; the condition ReplicaFailure says
why, and the time until the next try grows with the time since the first.
Source: kube-controller-manager's replica_set.go and replica_set_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane import conditions
from controlplane.controllers import podcontrol
from controlplane.controllers.podcontrol import BATCH, PodControl, Workload
from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.resources.indexes import OWNER
from controlplane.resources.workloads import selector_of
from controlplane.store import Event, Tx
from pinnace import kinds
from pinnace.clock import Ids, RandomIds
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.errors import ApiError
from pinnace.kinds import Kind
from pinnace.messages import includes

FAILURE = "ReplicaFailure"
# Seconds between two tries to create a pod that was rejected, at least and at most.
RETRY, LONGEST_RETRY = 1.0, 300.0


class ReplicaSets:
    """For `kind`; its spec and status have the fields of a ReplicaSet's. `source`: the component of events."""

    name = "replicaset"
    kind: Kind = kinds.REPLICA_SET
    source = "replicaset-controller"

    def __init__(self, ids: Ids | None = None) -> None:
        self._pods = PodControl(self.source, ids or RandomIds())
        self.watches: tuple[Kind, ...] = (self.kind, kinds.POD)

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        return podcontrol.keys(event, view, self.kind)

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace, _, name = key.partition("/")
        item = tx.get(self.kind, namespace, name)
        if item is None:
            return None
        owner = Workload(self.kind, item)
        claimed = podcontrol.claim(tx, owner, selector_of(item.spec), kinds.POD)
        active = [pod for pod in claimed if podcontrol.is_active(pod)]
        failure, left = "", 0
        if not owner.deleting and not podcontrol.namespace_ends(tx, namespace):
            active, failure, left = self._manage(tx, owner, active, now.wall)
        terminating = sum(map(podcontrol.is_terminating, claimed))
        again = _observe(tx, owner, active, terminating, failure, now.wall)
        return Requeue(0.0) if left else again

    def _manage(self, tx: Tx, owner: Workload, active: list[Pod], now: float) -> tuple[list[Pod], str, int]:
        """Create or delete pods; the active ones afterwards, why one could not be created, and how many changes are left."""
        missing = owner.message.spec.replicas - len(active)
        if missing > 0:
            return self._create(tx, owner, active, missing, now)
        if missing < 0:
            return self._delete(tx, owner, active, -missing, now)
        return active, "", 0

    def _create(self, tx: Tx, owner: Workload, active: list[Pod], missing: int, now: float) -> tuple[list[Pod], str, int]:
        active, item = list(active), owner.message
        for done in range(min(missing, BATCH)):
            if done and tx.full:
                return active, "", missing - done
            pod = podcontrol.make(item.spec.template, owner)
            pod.metadata.generateName = f"{item.metadata.name}-"
            try:
                self._pods.create(tx, pod, owner, now)
            except ApiError as error:
                reason = podcontrol.rejection(error, pod)
                self._pods.failed(tx, owner, reason, now)
                return active, reason, 0
            active.append(pod)
        return active, "", max(missing - BATCH, 0)

    def _delete(self, tx: Tx, owner: Workload, active: list[Pod], surplus: int, now: float) -> tuple[list[Pod], str, int]:
        order = podcontrol.deletion_order(active, podcontrol.by_node(_related(tx, owner)), now)
        done = 0
        for pod in order[: min(surplus, BATCH)]:
            if done and tx.full:
                break
            self._pods.delete(tx, pod, owner, now)
            done += 1
        return order[done:], "", surplus - done


def _related(tx: Tx, owner: Workload) -> Iterable[Pod]:
    """Active pods of this ReplicaSet and of the others of its Deployment."""
    reference = podcontrol.controller_of(owner.message)
    uids = [owner.uid]
    if reference is not None:
        uids = [row.message.metadata.uid for row in tx.by_index(kinds.REPLICA_SET, OWNER, reference.uid)]
    for uid in uids:
        yield from (row.message for row in tx.by_index(kinds.POD, OWNER, uid) if podcontrol.is_active(row.message))


def _observe(tx: Tx, owner: Workload, active: list[Pod], terminating: int, failure: str, now: float) -> Requeue | None:
    """Write the status; when to look again although nothing changes."""
    item = owner.message
    waits = [podcontrol.until_available(pod, item.spec.minReadySeconds, now) for pod in active]
    ready = [wait for wait in waits if wait is not None]
    labels = item.spec.template.metadata.labels
    status = item.status
    status.replicas, status.readyReplicas = len(active), len(ready)
    status.fullyLabeledReplicas = sum(includes(pod.metadata.labels, labels) for pod in active)
    status.availableReplicas = sum(wait <= 0 for wait in ready)
    if owner.kind is kinds.REPLICA_SET:
        status.terminatingReplicas = terminating
    status.observedGeneration = item.metadata.generation
    again = _report_failure(status, failure, now)
    verbs.update_status(tx, owner.kind, item, verbs.Call(now, RandomIds(), podcontrol.MANAGER))
    later = [wait for wait in ready if wait > 0]
    return Requeue(min([*later, *again])) if later or again else None


def _report_failure(status: Any, failure: str, now: float) -> list[float]:
    """Set or remove the condition; seconds until the next try."""
    if not failure:
        kept = [condition for condition in status.conditions if condition.type != FAILURE]
        del status.conditions[:]
        status.conditions.extend(kept)
        return []
    conditions.put(status, FAILURE, "True", now=now, reason="FailedCreate", message=failure)
    since = conditions.find(status, FAILURE)
    assert since is not None
    return [min(max(now - since.lastTransitionTime.seconds, RETRY), LONGEST_RETRY)]
