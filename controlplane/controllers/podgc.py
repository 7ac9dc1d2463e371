"""Removes pods that no agent will ever report on. Root kind: Pod.

They are pods of nodes that no longer exist, pods that were deleted before they had a node, terminating pods of nodes that are
marked as out of service, and the oldest finished pods beyond a number. A pod that has not ended is marked Failed first, which
those see who hold it by a finalizer. Source: the pod garbage collector of kube-controller-manager.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from controlplane import conditions
from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.resources.indexes import NODE
from controlplane.store import Event, StoredObject, Tx
from pinnace import kinds
from pinnace.clock import RandomIds
from pinnace.core.v1.node_pb2 import Node
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.kinds import Kind
from pinnace.wellknown import TAINT_OUT_OF_SERVICE

# A node that was deleted by mistake has this long to come back, in seconds.
QUARANTINE = 40.0
# Finished pods that are kept.
TERMINATED = 12_500
ENDED = ("Succeeded", "Failed")
REASON = "DeletionByPodGC"
# Reason of a pod that its node ended to reclaim resources.
EVICTED = "Evicted"
# Condition of a pod that the control plane ends.
DISRUPTION_TARGET = "DisruptionTarget"


class PodGC:
    name = "podgc"
    watches: tuple[Kind, ...] = (kinds.NODE, kinds.POD)

    def __init__(self, terminated: int = TERMINATED) -> None:
        """`terminated`: how many finished pods are kept; 0: all."""
        self._terminated = terminated
        # Node to the watched time since when it does not exist.
        self._missing: dict[str, float] = {}
        # Finished pods; those that are removed first have the lowest values: evicted ones, then the oldest.
        self._ended: dict[str, tuple[bool, int, str]] = {}

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        if event.row.kind is kinds.POD:
            yield from self._note_pod(event, view, watched)
        elif event.row.kind is kinds.NODE:
            yield from self._note_node(event, view, watched)

    def _note_node(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        name = event.row.key.rsplit("/", 1)[1]
        if event.new is not None:
            self._missing.pop(name, None)
            if not _abandoned(event.new.message):
                return
        pods = [_key(row) for row in view.by_index(kinds.POD, NODE, name)]
        if pods and event.new is None:
            self._missing[name] = watched
        yield from pods

    def _note_pod(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        key = _key(event.row)
        self._ended.pop(key, None)
        if event.new is None:
            self._forget_node(event, view)
            return
        pod = event.new.message
        if pod.status.phase in ENDED:
            self._ended[key] = pod.status.reason != EVICTED, pod.metadata.creationTimestamp.seconds, pod.metadata.name
            yield from self._surplus()
        node, deleted = pod.spec.nodeName, bool(pod.metadata.deletionTimestamp.seconds)
        moved = event.old is None or event.old.message.spec.nodeName != node
        if node and moved and view.get(kinds.NODE, "", node) is None:
            self._missing.setdefault(node, watched)
            yield key
        elif deleted and (event.old is None or not event.old.message.metadata.deletionTimestamp.seconds):
            yield key

    def _forget_node(self, event: Event, view: Tx) -> None:
        """A node that no pod names any more has its whole quarantine when one names it again."""
        node = event.old.message.spec.nodeName if event.old is not None else ""
        if node in self._missing and not view.by_index(kinds.POD, NODE, node):
            del self._missing[node]

    def _surplus(self) -> list[str]:
        surplus = len(self._ended) - self._terminated
        return (
            heapq.nsmallest(surplus, self._ended, key=lambda key: self._ended[key]) if self._terminated and surplus > 0 else []
        )

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace, _, name = key.partition("/")
        pod = tx.get(kinds.POD, namespace, name)
        if pod is None:
            return None
        node = tx.get(kinds.NODE, "", pod.spec.nodeName) if pod.spec.nodeName else None
        if pod.spec.nodeName and node is None:
            left = self._missing.setdefault(pod.spec.nodeName, now.watched) + QUARANTINE - now.watched
            if left > 0:
                return Requeue(left)
            _remove(tx, pod, "PodGC: node no longer exists", now)
        elif _is_stranded(pod, node) or key in self._surplus():
            _remove(tx, pod, "", now)
        return None


def _is_stranded(pod: Pod, node: Node | None) -> bool:
    """Whether a terminating pod has no agent that would end it."""
    return bool(pod.metadata.deletionTimestamp.seconds) and (node is None or _abandoned(node))


def _remove(tx: Tx, pod: Pod, message: str, now: Moment) -> None:
    """Delete a pod without its agent. `message`: what disrupts it; empty for nothing."""
    changed = False
    if pod.status.phase not in ENDED:
        pod.status.phase, changed = "Failed", True
        if message:
            conditions.put(pod.status, DISRUPTION_TARGET, "True", now=now.wall, reason=REASON, message=message)
    if changed:
        tx.put(kinds.POD, pod)
    if changed or not pod.metadata.deletionTimestamp.seconds or pod.metadata.deletionGracePeriodSeconds:
        verbs.delete(tx, kinds.POD, pod.metadata.namespace, pod.metadata.name, verbs.Call(now.wall, RandomIds()), grace=0)


def _key(row: StoredObject) -> str:
    return "/".join(row.key.rsplit("/", 2)[1:])


def _abandoned(node: Node) -> bool:
    """Whether an administrator says that a node which is not ready will not come back as it was."""
    ready = conditions.find(node.status, "Ready")
    marked = any(taint.key == TAINT_OUT_OF_SERVICE for taint in node.spec.taints)
    return marked and (ready is None or ready.status != "True")
