"""Evicts pods from nodes with NoExecute taints that they do not tolerate, or no longer do.

Root kind: Node. Source: the taint based evictions page of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane import conditions, events
from controlplane.controllers.runner import Requeue
from controlplane.store import Event, Tx
from pinnace import codec, kinds

# Pods in one transaction: each is two writes and three reads, and etcd takes 128 of either.
BATCH = 25


class TaintEviction:
    name = "tainteviction"

    def keys(self, event: Event) -> Iterable[str]:
        if event.row.kind is kinds.NODE:
            yield event.row.key.rsplit("/", 1)[1]
        elif event.row.kind is kinds.POD and event.new is not None:
            node = event.new.parse().spec.nodeName
            if node and (event.old is None or event.old.parse().spec.nodeName != node):
                yield node

    def reconcile(self, tx: Tx, key: str, now: float) -> Requeue | None:
        node = tx.get(kinds.NODE, "", key)
        taints = [taint for taint in node.spec.taints if taint.effect == "NoExecute"] if node else []
        if not taints:
            return None
        self._stamp(tx, node, taints, now)
        soonest: float | None = None
        evicted = 0
        for row in tx.peek(kinds.POD):
            pod = row.parse()
            if pod.spec.nodeName != key or pod.metadata.deletionTimestamp.seconds:
                continue
            due = _due(pod, taints, now)
            if due is not None and due <= now:
                _evict(tx, pod, now)
                evicted += 1
                if evicted == BATCH:
                    return Requeue(0.0)
            elif due is not None:
                soonest = due if soonest is None else min(soonest, due)
        return None if soonest is None else Requeue(soonest - now)

    def _stamp(self, tx: Tx, node: Any, taints: list[Any], now: float) -> None:
        """People write taints without a time; tolerationSeconds count from when we saw them."""
        unstamped = [taint for taint in taints if not taint.timeAdded.seconds]
        for taint in unstamped:
            taint.timeAdded.CopyFrom(codec.time_of(now))
        if unstamped:
            tx.put(kinds.NODE, node)


def _due(pod: Any, taints: list[Any], now: float) -> float | None:
    """When the pod must go; None for never."""
    due: list[float] = []
    for taint in taints:
        matching = [item for item in pod.spec.tolerations if _tolerates(item, taint)]
        if not matching:
            return now
        limits = [item.tolerationSeconds for item in matching if item.HasField("tolerationSeconds")]
        if len(limits) == len(matching):
            due.append(max(taint.timeAdded.seconds, _bound_at(pod)) + max(min(limits), 0))
    return min(due) if due else None


def _bound_at(pod: Any) -> int:
    """A pod that came to a tainted node later has its tolerationSeconds from then."""
    scheduled = conditions.find(pod.status, "PodScheduled")
    return int((scheduled.lastTransitionTime if scheduled else pod.metadata.creationTimestamp).seconds)


def _tolerates(item: Any, taint: Any) -> bool:
    if (item.effect and item.effect != taint.effect) or (item.key and item.key != taint.key):
        return False
    return item.operator == "Exists" or bool(item.value == taint.value)


def _evict(tx: Tx, pod: Any, now: float) -> None:
    pod = tx.get(kinds.POD, pod.metadata.namespace, pod.metadata.name)
    if pod is None or pod.metadata.deletionTimestamp.seconds:
        return
    grace = pod.spec.terminationGracePeriodSeconds
    pod.metadata.deletionTimestamp.seconds = int(now) + grace
    pod.metadata.deletionGracePeriodSeconds = grace
    tx.put(kinds.POD, pod)
    events.record(
        tx, pod, "TaintManagerEviction", "Marking for deletion: its node has a taint", source="taint-eviction", now=now
    )
