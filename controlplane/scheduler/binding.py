"""Commits decisions: the binding or the rejection of pods, with the condition and the event that show it. Pure of I/O.

Decisions share transactions within the limits of the backend.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane import conditions, events, volumematching
from controlplane.requests import verbs
from controlplane.scheduler.cache import NAME, waits
from controlplane.scheduler.placement import Decision
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.volumes import claim_key, is_bound
from controlplane.store import Tx
from pinnace import kinds
from pinnace.core.v1 import pod_pb2
from pinnace.core.v1.persistentvolumeclaim_pb2 import PersistentVolumeClaim
from pinnace.kinds import Kind
from pinnace.wellknown import SELECTED_NODE

# A decision reads its pod, its event and the namespace, and writes the first two.
OPERATIONS = 3
# Bytes that a decision adds to its pod, and its event without the message.
OVERHEAD = 4 << 10
UNSCHEDULABLE, ERROR = "Unschedulable", "SchedulerError"
# Of a victim's condition DisruptionTarget.
PREEMPTION = "PreemptionByScheduler"


def commit(tx: Tx, decisions: Iterable[Decision], now: float) -> dict[str, pod_pb2.Pod]:
    """Write decisions on pods that still wait; returns those by key that are bound, or whose volumes are being
    bound. They have their revision after the commit."""
    bound: dict[str, pod_pb2.Pod] = {}
    for decision in decisions:
        namespace, _, name = decision.pod.key.partition("/")
        pod = tx.get(kinds.POD, namespace, name)
        if pod is None or pod.metadata.uid != decision.pod.uid or not waits(pod):
            continue
        if decision.node and decision.volumes is not None:
            if _bind_volumes(tx, decision):
                bound[decision.pod.key] = pod
        elif decision.node:
            if not _claims_hold(tx, decision):
                continue
            _bind(tx, pod, decision.node, now)
            bound[decision.pod.key] = pod
        else:
            _reject(tx, pod, decision, now)
    return bound


def _claims_hold(tx: Tx, decision: Decision) -> bool:
    """Whether the pod's claims are still bound. They are read, so that one which is being deleted is a conflict."""
    for item in decision.pod.claims:
        claim = _claim(tx, claim_key(decision.pod, item))
        if claim is None or not is_bound(claim):
            return False
    return True


def _claim(tx: Tx, key: str) -> PersistentVolumeClaim | None:
    """None for one that is being deleted too."""
    found = tx.get(kinds.PERSISTENT_VOLUME_CLAIM, *key.split("/"))
    return None if found is None or found.metadata.deletionTimestamp.seconds else found


def _bind_volumes(tx: Tx, decision: Decision) -> bool:
    """Reserve volumes, and name the node to provisioners. False: something has changed, and nothing is written."""
    written: list[tuple[Kind, Any]] = []
    for step in decision.volumes or ():
        claim = _claim(tx, step.claim)
        if claim is None or claim.spec.volumeName:
            return False
        if not step.volume:
            claim.metadata.annotations[SELECTED_NODE] = decision.node
            written.append((kinds.PERSISTENT_VOLUME_CLAIM, claim))
            continue
        volume = tx.get(kinds.PERSISTENT_VOLUME, "", step.volume)
        if volume is None or volumematching.best(claim, [volume]) is None:
            return False
        volumematching.reserve(volume, claim)
        written.append((kinds.PERSISTENT_VOLUME, volume))
    for kind, message in written:
        tx.put(kind, message)
    return True


def _bind(tx: Tx, pod: pod_pb2.Pod, node: str, now: float) -> None:
    pod.spec.nodeName = node
    pod.status.nominatedNodeName = ""
    conditions.put(pod.status, "PodScheduled", "True", now=now)
    text = f"Successfully assigned {pod.metadata.namespace}/{pod.metadata.name} to {node}"
    events.record(tx, pod, "Scheduled", text, source=NAME, now=now)
    tx.put(kinds.POD, pod)


def _reject(tx: Tx, pod: pod_pb2.Pod, decision: Decision, now: float) -> None:
    reason = ERROR if decision.failed else UNSCHEDULABLE
    changed = conditions.put(pod.status, "PodScheduled", "False", now=now, reason=reason, message=decision.message)
    events.record(tx, pod, "FailedScheduling", decision.message, source=NAME, now=now, warning=True)
    if changed:
        tx.put(kinds.POD, pod)


def nominate(tx: Tx, pod: PodInfo, node: str) -> bool:
    """Nominate a pod for a node, or for none where that is empty; returns whether the pod still waits for one."""
    namespace, _, name = pod.key.partition("/")
    found = tx.get(kinds.POD, namespace, name)
    if found is None or found.metadata.uid != pod.uid or not waits(found):
        return False
    found.status.nominatedNodeName = node
    tx.put(kinds.POD, found)
    return True


def evict(tx: Tx, victim: PodInfo, pod: PodInfo, call: verbs.Call) -> None:
    """Delete a pod that makes room for another, with its grace period."""
    namespace, _, name = victim.key.partition("/")
    found = tx.get(kinds.POD, namespace, name)
    if found is None or found.metadata.uid != victim.uid or found.metadata.deletionTimestamp.seconds:
        return
    text = f"{NAME}: preempting to accommodate a higher priority pod"
    conditions.put(found.status, "DisruptionTarget", "True", now=call.now, reason=PREEMPTION, message=text)
    tx.put(kinds.POD, found)
    events.record(tx, found, "Preempted", f"Preempted by pod {pod.uid} on node {victim.node}", source=NAME, now=call.now)
    verbs.delete(tx, kinds.POD, namespace, name, call, uid=victim.uid)


def report(tx: Tx, decision: Decision, message: str, now: float) -> None:
    """Record an error of a pod that cannot be written itself."""
    namespace, _, name = decision.pod.key.partition("/")
    pod = tx.get(kinds.POD, namespace, name)
    if pod is not None and pod.metadata.uid == decision.pod.uid:
        events.record(tx, pod, "FailedScheduling", message, source=NAME, now=now, warning=True)


def report_node(tx: Tx, name: str, message: str, now: float) -> None:
    """Record that a node's status cannot be read."""
    node = tx.get(kinds.NODE, "", name)
    if node is not None:
        events.record(tx, node, "InvalidNodeStatus", message, source=NAME, now=now, warning=True)
