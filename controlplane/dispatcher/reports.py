"""What agents report, into the store: node registration, heartbeats as leases, pod statuses, finished deletions.

Functions of a transaction. The agent is the only writer of its pods' status, except for the conditions and fields
that others own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane import conditions, events
from controlplane.api import verbs
from controlplane.dispatcher.addresses import free_range
from controlplane.dispatcher.assignment import VTEP_ANNOTATION
from controlplane.store import Tx
from pinnace import codec, kinds
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import Ids
from pinnace.podresources import MIRROR

LEASES = "kube-node-lease"
# Conditions of a pod that its agent owns; all others (the scheduler's, readiness gates) are kept as they are.
_AGENT_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")
# Labels and annotations that a node may set on itself (Kubernetes' NodeRestriction, simplified).
_OWN_LABELS = ("kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch")


def register(tx: Tx, name: str, hello: nodes_pb2.Hello, *, cluster: str, bits: int, ids: Ids, now: float) -> Any:
    """Create or refresh the Node, with a pod range. Raises TooManyRequests when the cluster range is full."""
    node: Any = tx.get(kinds.NODE, "", name)
    fresh = node is None
    if node is None:
        node = kinds.NODE.cls()
        node.metadata.name = name
        node.metadata.uid = ids.uid()
        node.metadata.creationTimestamp.CopyFrom(codec.time_of(now))
        taken = [other.spec.podCIDR for other in tx.list(kinds.NODE)]
        node.spec.podCIDR = free_range(cluster, bits, taken)
        node.spec.podCIDRs.append(node.spec.podCIDR)
    for key in _OWN_LABELS:
        if key in hello.node.metadata.labels:
            node.metadata.labels[key] = hello.node.metadata.labels[key]
    node.metadata.annotations[VTEP_ANNOTATION] = hello.vtepMac
    _take_status(node, hello.node.status)
    _ready(node, now)
    tx.put(kinds.NODE, node)
    if fresh:
        events.record(tx, node, "RegisteredNode", f"Node {name} joined the cluster", source="dispatcher", now=now)
    return node


def _ready(node: Any, now: float) -> bool:
    return conditions.put(node.status, "Ready", "True", now=now, reason="AgentReady", message="the node's agent is reporting")


def renew(tx: Tx, names: Iterable[str], *, now: float, seconds: float) -> None:
    """Renew the leases of nodes whose agents were heard, and make them Ready again."""
    for name in names:
        node = tx.get(kinds.NODE, "", name)
        if node is None:
            continue
        lease: Any = tx.get(kinds.LEASE, LEASES, name)
        if lease is None:
            lease = kinds.LEASE.cls()
            lease.metadata.name, lease.metadata.namespace = name, LEASES
            lease.metadata.creationTimestamp.CopyFrom(codec.time_of(now))
            lease.spec.holderIdentity = name
        lease.spec.leaseDurationSeconds = int(seconds)
        lease.spec.renewTime.CopyFrom(codec.microtime_of(now))
        tx.put(kinds.LEASE, lease)
        if _ready(node, now):
            tx.put(kinds.NODE, node)
            text = f"Node {name} status is now: NodeReady"
            events.record(tx, node, "NodeReady", text, source="dispatcher", now=now)


def report(tx: Tx, node: str, request: nodes_pb2.ReportStatusRequest, *, now: float) -> None:
    """Take in a report. What concerns no pod of this node is dropped: the agent may act only for itself."""
    for item in request.pods:
        _pod(tx, node, item, now)
    for event in request.events:
        about = tx.get(kinds.POD, event.involvedObject.namespace, event.involvedObject.name)
        own_node = event.involvedObject.kind == "Node" and event.involvedObject.name == node
        if own_node or (about is not None and about.spec.nodeName == node):
            event.source.host = event.reportingInstance = node
            if about is not None and _is(about, event.involvedObject.uid):
                event.involvedObject.uid = about.metadata.uid
            events.put(tx, event, now=now)
    if request.HasField("node"):
        _node(tx, node, request.node)


def _pod(tx: Tx, node: str, item: nodes_pb2.PodReport, now: float) -> None:
    pod = tx.get(kinds.POD, item.namespace, item.name)
    if pod is None or pod.spec.nodeName != node or not _is(pod, item.uid):
        return
    if item.removed and pod.metadata.deletionTimestamp.seconds:
        pod.metadata.deletionGracePeriodSeconds = 0
        if verbs.settled(kinds.POD, pod):
            tx.delete(kinds.POD, item.namespace, item.name)
            return
    own = [c for c in item.status.conditions if c.type in _AGENT_CONDITIONS or _evicted(c)]
    named = {*_AGENT_CONDITIONS, *(c.type for c in own)}
    foreign = [c for c in pod.status.conditions if c.type not in named]
    before = type(pod.status)()
    before.CopyFrom(pod.status)
    qos = pod.status.qosClass
    pod.status.CopyFrom(item.status)
    del pod.status.conditions[:]
    pod.status.conditions.extend([*foreign, *own])
    pod.status.qosClass = qos
    if pod.status != before or item.removed:
        tx.put(kinds.POD, pod)


def _is(pod: Any, uid: str) -> bool:
    """Whether the agent's pod of this uid is `pod`: itself, or the static pod that it mirrors."""
    return uid in (pod.metadata.uid, pod.metadata.annotations.get(MIRROR))


def _evicted(condition: Any) -> bool:
    """DisruptionTarget belongs to whoever disrupts the pod; of an eviction by its node, to the agent."""
    return bool(condition.type == "DisruptionTarget" and condition.reason == "TerminationByKubelet")


def _node(tx: Tx, name: str, status: Any) -> None:
    node = tx.get(kinds.NODE, "", name)
    if node is None:
        return
    before = type(node.status)()
    before.CopyFrom(node.status)
    _take_status(node, status)
    if node.status != before:
        tx.put(kinds.NODE, node)


def _take_status(node: Any, status: Any) -> None:
    """All of it but Ready, which heartbeats say."""
    ready = [c for c in node.status.conditions if c.type == "Ready"]
    since = {(c.type, c.status): c.lastTransitionTime.seconds for c in node.status.conditions}
    node.status.CopyFrom(status)
    own = [c for c in status.conditions if c.type != "Ready"]
    for condition in own:
        # An agent that starts again does not know since when.
        if (condition.type, condition.status) in since:
            condition.lastTransitionTime.seconds = since[condition.type, condition.status]
    del node.status.conditions[:]
    node.status.conditions.extend([*own, *ready])
