"""Evicts pods from nodes with NoExecute taints that they do not tolerate, or no longer do. Root kind: Pod.

tolerationSeconds count in watched time (`watchedtime`) from when the taint was first observed on the pod's node, or the pod,
whichever was later. The timeAdded of a taint is not read: it is a wall clock's, and a step of that could evict pods at once
or not for hours. So after a restart of the control plane, or another one's election, the seconds count anew: a pod is never
evicted early, and late by its tolerationSeconds at most. Kubernetes does the same.

Each pod has a transaction of its own, so the pods of a node are any number and a pod that cannot be written delays no other.
Source: the taint based evictions page of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane import conditions, events
from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.resources.indexes import NODE
from controlplane.store import Event, StoredObject, Tx
from pinnace import kinds
from pinnace.clock import RandomIds
from pinnace.core.v1.node_pb2 import Node
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.core.v1.scheduling_pb2 import Taint
from pinnace.kinds import Kind
from pinnace.taints import tolerates

NO_EXECUTE = "NoExecute"
# Of the pod's condition DisruptionTarget.
REASON, MESSAGE = "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"


class TaintEviction:
    name = "tainteviction"
    watches: tuple[Kind, ...] = (kinds.NODE, kinds.POD)

    def __init__(self) -> None:
        # Node to its NoExecute taints, each with the watched time at which it was first observed.
        self._taints: dict[str, dict[tuple[str, str], float]] = {}
        # Key and UID of a pod that came to a node when that had taints already, to when it came.
        self._arrivals: dict[str, tuple[str, float]] = {}
        # Key to the UID of a pod that is to be evicted later.
        self._pending: dict[str, str] = {}

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        if event.row.kind is kinds.POD:
            yield from self._note_pod(event, watched)
        elif event.row.kind is kinds.NODE:
            name = event.row.key.rsplit("/", 1)[1]
            if event.new is None:
                self._taints.pop(name, None)
                for row in view.by_index(kinds.POD, NODE, name):
                    self._pending.pop(_key(row), None)
            elif self._note_taints(event.new.message, watched, anew=event.old is None):
                for row in view.by_index(kinds.POD, NODE, name):
                    yield _key(row)

    def _note_pod(self, event: Event, watched: float) -> Iterable[str]:
        key = _key(event.row)
        if event.new is None:
            self._arrivals.pop(key, None)
            self._pending.pop(key, None)
            return
        pod = event.new.message
        if pod.spec.nodeName not in self._taints or pod.metadata.deletionTimestamp.seconds:
            return
        if event.old is None or event.old.message.spec.nodeName != pod.spec.nodeName:
            self._arrivals[key] = (pod.metadata.uid, watched)
            yield key
        elif event.old.message.spec.tolerations != pod.spec.tolerations:
            yield key

    def _note_taints(self, node: Node, watched: float, *, anew: bool) -> bool:
        """Returns whether the pods of the node are to be reconciled."""
        before = {} if anew else self._taints.get(node.metadata.name, {})
        found = {(taint.key, taint.value) for taint in node.spec.taints if taint.effect == NO_EXECUTE}
        if found:
            self._taints[node.metadata.name] = {item: before.get(item, watched) for item in found}
        else:
            self._taints.pop(node.metadata.name, None)
        return found != before.keys()

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace, _, name = key.partition("/")
        pod = tx.get(kinds.POD, namespace, name)
        if pod is None or pod.metadata.deletionTimestamp.seconds or not pod.spec.nodeName:
            self._pending.pop(key, None)
            return None
        node = tx.get(kinds.NODE, "", pod.spec.nodeName)
        left = self._left(pod, node, key, now) if node else None
        if left is None:
            self._cancel(tx, pod, key, now)
            return None
        if left > 0:
            self._pending[key] = pod.metadata.uid
            return Requeue(left)
        conditions.put(pod.status, "DisruptionTarget", "True", now=now.wall, reason=REASON, message=MESSAGE)
        tx.put(kinds.POD, pod)
        text = f"Marking for deletion Pod {key}"
        events.record(tx, pod, "TaintManagerEviction", text, source="taint-eviction", now=now.wall)
        verbs.delete(tx, kinds.POD, namespace, name, verbs.Call(now.wall, RandomIds()))
        return None

    def _cancel(self, tx: Tx, pod: Pod, key: str, now: Moment) -> None:
        """Record that an eviction which was pending does not happen."""
        if self._pending.pop(key, "") == pod.metadata.uid:
            text = f"Cancelling deletion of Pod {key}"
            events.record(tx, pod, "TaintManagerEviction", text, source="taint-eviction", now=now.wall)

    def _left(self, pod: Pod, node: Node, key: str, now: Moment) -> float | None:
        """Seconds until the pod has to go; None for never."""
        uid, arrival = self._arrivals.get(key, ("", 0.0))
        arrived = arrival if uid == pod.metadata.uid else 0.0
        observed = self._taints.get(node.metadata.name, {})
        left: list[float] = []
        for taint in (taint for taint in node.spec.taints if taint.effect == NO_EXECUTE):
            limit = _tolerated(pod, taint)
            if limit is not None:
                # A taint that the watch has not brought yet begins now.
                since = max(observed.get((taint.key, taint.value), now.watched), arrived)
                left.append(since + limit - now.watched)
        return min(left) if left else None


def _key(row: StoredObject) -> str:
    return "/".join(row.key.rsplit("/", 2)[1:])


def _tolerated(pod: Pod, taint: Taint) -> float | None:
    """Seconds for which the pod tolerates the taint; None: for ever."""
    matching = [item for item in pod.spec.tolerations if tolerates(item, taint)]
    if not matching:
        return 0.0
    limits = [item.tolerationSeconds for item in matching if item.HasField("tolerationSeconds")]
    return max(min(limits), 0) if len(limits) == len(matching) else None
