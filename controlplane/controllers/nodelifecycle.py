"""Nodes: NotReady when the lease is not renewed, the taints that say so, and the eviction of pods that mind.

Root kind: Node. The agent's session renews the node's Lease in kube-node-lease; this controller only reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane import conditions, events
from controlplane.controllers.runner import Requeue
from controlplane.store import Event, Tx
from pinnace import codec, kinds

NAMESPACE = "kube-node-lease"
UNREACHABLE = "node.kubernetes.io/unreachable"
NOT_READY = "node.kubernetes.io/not-ready"
# Which taint keeps new pods away while the node has a condition (Kubernetes' TaintNodesByCondition).
PRESSURE = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
}
LOST = ("NoSchedule", "NoExecute")
SOURCE = "node-controller"
# Pods in one transaction: etcd takes 128 operations.
BATCH = 50


class NodeLifecycle:
    name = "nodelifecycle"

    def __init__(self, grace: float) -> None:
        """`grace`: seconds without a renewal until a node is NotReady."""
        self._grace = grace

    def keys(self, event: Event) -> Iterable[str]:
        kind, key = event.row.kind, event.row.key
        if kind is kinds.NODE or (kind is kinds.LEASE and key.startswith(kinds.LEASE.key(NAMESPACE, ""))):
            # A renewal changes nothing but when to look again, and the pending look finds that out itself.
            if kind is kinds.NODE or event.old is None or event.new is None:
                yield key.rsplit("/", 1)[1]

    def reconcile(self, tx: Tx, key: str, now: float) -> Requeue | None:
        node = tx.get(kinds.NODE, "", key)
        if node is None:
            if tx.get(kinds.LEASE, NAMESPACE, key) is not None:
                tx.delete(kinds.LEASE, NAMESPACE, key)
            return None
        lease = tx.get(kinds.LEASE, NAMESPACE, key)
        seen = codec.seconds_of(lease.spec.renewTime) if lease else float(node.metadata.creationTimestamp.seconds)
        left = seen + self._grace - now
        self._taint_pressure(tx, node, now)
        ready = conditions.find(node.status, "Ready")
        if left <= 0:
            self._lose(tx, node, now)
            if self._unready(tx, key, now):
                return Requeue(0.0)
        elif ready is not None and ready.status == "True":
            _set_taint(tx, node, UNREACHABLE, LOST, wanted=False, now=now)
        return Requeue(max(left, 0.0) + 0.05 if left > 0 else self._grace)

    def _lose(self, tx: Tx, node: Any, now: float) -> None:
        message = "The node's agent stopped reporting."
        if conditions.put(node.status, "Ready", "Unknown", now=now, reason="NodeStatusUnknown", message=message):
            tx.put(kinds.NODE, node)
            text = f"Node {node.metadata.name} status is now: NodeNotReady"
            events.record(tx, node, "NodeNotReady", text, source=SOURCE, now=now)
        _set_taint(tx, node, UNREACHABLE, LOST, wanted=True, now=now)

    def _taint_pressure(self, tx: Tx, node: Any, now: float) -> None:
        for type_, key in PRESSURE.items():
            found = conditions.find(node.status, type_)
            # Of a node that is silent nothing new is known: its taints stay as they are.
            if found is not None and found.status != "Unknown":
                _set_taint(tx, node, key, ("NoSchedule",), wanted=found.status == "True", now=now)

    def _unready(self, tx: Tx, node: str, now: float) -> bool:
        """Nobody vouches for the node's pods any more. Marks up to BATCH of them; returns whether there may be more."""
        marked = 0
        for row in tx.peek(kinds.POD):
            pod = row.parse()
            ready = conditions.find(pod.status, "Ready")
            if pod.spec.nodeName != node or ready is None or ready.status != "True":
                continue
            pod = tx.get(kinds.POD, pod.metadata.namespace, pod.metadata.name)
            if pod is not None:
                conditions.put(pod.status, "Ready", "False", now=now, reason="NodeNotReady")
                tx.put(kinds.POD, pod)
                marked += 1
            if marked == BATCH:
                return True
        return False


def _set_taint(tx: Tx, node: Any, key: str, effects: tuple[str, ...], *, wanted: bool, now: float) -> None:
    present = [taint for taint in node.spec.taints if taint.key == key]
    if bool(present) == wanted:
        return
    kept = [taint for taint in node.spec.taints if taint.key != key]
    del node.spec.taints[:]
    node.spec.taints.extend(kept)
    if wanted:
        for effect in effects:
            taint = node.spec.taints.add(key=key, effect=effect)
            taint.timeAdded.CopyFrom(codec.time_of(now))
    tx.put(kinds.NODE, node)
