"""Removes the tracking finalizer of pods: of those that are counted, and of those that no Job will count."""

from __future__ import annotations

from controlplane.controllers import jobpods, podcontrol
from controlplane.controllers.podcontrol import BATCH
from controlplane.controllers.runner import Requeue
from controlplane.requests import verbs
from controlplane.resources.indexes import OWNER
from controlplane.store import Tx
from pinnace import kinds
from pinnace.batch.v1.job_pb2 import Job
from pinnace.core.v1.pod_pb2 import Pod


def is_orphan(tx: Tx, pod: Pod) -> bool:
    """Whether no Job will count the pod; one of another kind's object is that controller's matter."""
    key, reference = podcontrol.owner_key(pod, kinds.JOB), podcontrol.controller_of(pod)
    if reference is None:
        return True
    row = tx.get_untracked(kinds.JOB, *key.split("/")) if key else None
    return key is not None and (row is None or row.message.metadata.uid != reference.uid)


def release_orphan(tx: Tx, namespace: str, name: str) -> None:
    """Remove the finalizer of a pod that no Job will count."""
    row = tx.get_untracked(kinds.POD, namespace, name)
    if row is not None and is_orphan(tx, row.message):
        untrack(tx, row.message)


def release_all(tx: Tx, item: Job) -> Requeue | None:
    """Remove the finalizers of pods that a finished Job still has: they ended or came too late to count."""
    tracked = [row.message for row in tx.by_index(kinds.POD, OWNER, item.metadata.uid) if jobpods.is_tracked(row.message)]
    for pod in tracked[:BATCH]:
        untrack(tx, pod)
    return Requeue(0.0) if len(tracked) > BATCH else None


def untrack(tx: Tx, pod: Pod) -> None:
    stored = tx.get(kinds.POD, pod.metadata.namespace, pod.metadata.name)
    if stored is None or stored.metadata.uid != pod.metadata.uid or not jobpods.is_tracked(stored):
        return
    stored.metadata.finalizers.remove(jobpods.TRACKING)
    verbs.settle(tx, kinds.POD, stored)
