"""What agents report, into the store: node registration, heartbeats as leases, pod statuses, finished deletions.

Functions of a transaction. The agent is the only writer of its pods' status, except for the conditions and fields
that others own. What an agent repeats without a change is not written.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from controlplane import conditions, events
from controlplane.dispatcher import addresschecks, checks
from controlplane.dispatcher.addresschecks import Ranges
from controlplane.dispatcher.podcidrs import PodCIDRs
from controlplane.requests import deletion, verbs
from controlplane.resources.persistentvolume import reclaiming_node
from controlplane.store import Tx
from pinnace import codec, heldresources, kinds
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import Ids
from pinnace.errors import Invalid, Unauthenticated
from pinnace.messages import clone
from pinnace.persistentvolumes import FAILED
from pinnace.podresources import MIRROR
from pinnace.wellknown import (
    ANNOTATION_LOCAL_PATH,
    ANNOTATION_VTEP_MAC,
    ANNOTATION_WIREGUARD_KEY,
    FINALIZER_PROVISIONER,
    LABEL_ARCH,
    LABEL_HOSTNAME,
    LABEL_OS,
    LOCAL_PATH_PROVISIONER,
    NODE_LEASE_NAMESPACE,
)

log = logging.getLogger("pinnace.dispatcher")
# Conditions of a pod that its agent owns; all others (the scheduler's, readiness gates) are kept as they are.
_AGENT_CONDITIONS = (
    "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready", "AllContainersRestarting",
    heldresources.PENDING, heldresources.IN_PROGRESS,
)  # fmt: skip
# Labels and annotations that a node may set on itself (Kubernetes' NodeRestriction, simplified).
_OWN_LABELS = (LABEL_HOSTNAME, LABEL_OS, LABEL_ARCH)
# Of a cluster without pod and Service CIDRs.
NO_RANGES: Ranges = {}


def ensure(tx: Tx, name: str, *, cidrs: PodCIDRs, ids: Ids, now: float) -> Any:
    """The Node, made or completed with a pod CIDR: before its agent has reported anything. Reads no other node. Raises
    TooManyRequests when the cluster's CIDR is full."""
    node: Any = tx.get(kinds.NODE, "", name)
    if node is None:
        node = kinds.NODE.cls()
        node.metadata.name = name
        node.metadata.uid = ids.uid()
        node.metadata.creationTimestamp.CopyFrom(codec.time_of(now))
        message = "the node's agent has not reported yet"
        conditions.put(node.status, "Ready", "Unknown", now=now, reason="NodeStatusNeverUpdated", message=message)
        events.record(tx, node, "RegisteredNode", f"Node {name} joined the cluster", source="dispatcher", now=now)
    if not node.spec.podCIDR:
        node.spec.podCIDRs[:] = cidrs.reserve(tx, name, now=now)
        node.spec.podCIDR = node.spec.podCIDRs[0]
    tx.put(kinds.NODE, node)
    return node


def register(tx: Tx, name: str, hello: nodes_pb2.Hello, *, now: float, ranges: Ranges = NO_RANGES) -> Any:
    """Bring the Node up to date with what its agent says of it; none of its addresses is in `ranges`. Raises Unauthenticated
    for a node that has been removed, Invalid for values out of range and for what is another's."""
    checks.check_hello(hello)
    node: Any = tx.get(kinds.NODE, "", name)
    if node is None:
        raise Unauthenticated(f'node "{name}" has been removed from the cluster: to return, it has to join again')
    before = clone(node)
    for key in _OWN_LABELS:
        if checks.is_label(value := hello.node.metadata.labels.get(key, "")) and value:
            node.metadata.labels[key] = value
    node.metadata.annotations[ANNOTATION_VTEP_MAC] = hello.vtepMac
    _annotate(node, ANNOTATION_LOCAL_PATH, hello.localPath)
    addresschecks.check_key(tx, node, hello.wireguardKey)
    addresschecks.check_node(tx, node, hello.node.status, ranges)
    _annotate(node, ANNOTATION_WIREGUARD_KEY, hello.wireguardKey)
    _take_status(node, hello.node.status)
    _ready(node, now)
    if node != before:
        tx.put(kinds.NODE, node)
    return node


def _annotate(node: Any, name: str, value: str) -> None:
    if value:
        node.metadata.annotations[name] = value
    else:
        node.metadata.annotations.pop(name, None)


def is_ready(node: Any) -> bool:
    """Whether a heartbeat leaves the Node as it is."""
    ready = conditions.find(node.status, "Ready")
    return (ready is not None and ready.status == "True") or any(_shuts_down(c) for c in node.status.conditions)


def _ready(node: Any, now: float) -> bool:
    if any(_shuts_down(condition) for condition in node.status.conditions):
        return False
    return conditions.put(node.status, "Ready", "True", now=now, reason="AgentReady", message="the node's agent is reporting")


def renew(tx: Tx, names: Iterable[str], *, now: float, seconds: float) -> None:
    """Renew the leases of nodes whose agents were heard. Reads no Node: the two objects have different writers."""
    for name in names:
        lease: Any = tx.get(kinds.LEASE, NODE_LEASE_NAMESPACE, name)
        if lease is None:
            lease = kinds.LEASE.cls()
            lease.metadata.name, lease.metadata.namespace = name, NODE_LEASE_NAMESPACE
            lease.metadata.creationTimestamp.CopyFrom(codec.time_of(now))
            lease.spec.holderIdentity = name
        lease.spec.leaseDurationSeconds = int(seconds)
        lease.spec.renewTime.CopyFrom(codec.microtime_of(now))
        tx.put(kinds.LEASE, lease)


def recover(tx: Tx, name: str, *, now: float) -> None:
    """Make a node Ready again whose agent was heard."""
    node = tx.get(kinds.NODE, "", name)
    if node is not None and _ready(node, now):
        tx.put(kinds.NODE, node)
        text = f"Node {name} status is now: NodeReady"
        events.record(tx, node, "NodeReady", text, source="dispatcher", now=now)


@dataclass(frozen=True, slots=True)
class Part:
    """One object of a report; `apply` raises Invalid for what the agent may not say."""

    subject: str
    apply: Callable[[Tx], None]


def parts(node: str, request: nodes_pb2.ReportStatusRequest, *, now: float, ranges: Ranges = NO_RANGES) -> Iterator[Part]:
    """Each object of a report, to be applied in a transaction of its own, so that one that fails costs the others nothing."""
    for item in request.pods:
        subject = f"Pod/{item.namespace}/{item.name}"
        yield Part(subject, functools.partial(_pod, node=node, item=item, now=now))
    for event in request.events:
        about = event.involvedObject
        yield Part(f"Event of {about.namespace}/{about.name}", functools.partial(_event, node=node, event=event, now=now))
    for report_ in request.volumes:
        yield Part(f"PersistentVolume//{report_.name}", functools.partial(_volume, node=node, item=report_, now=now))
    if request.HasField("node"):
        yield Part(f"Node//{node}", functools.partial(_node, name=node, status=request.node, ranges=ranges))


def report(tx: Tx, node: str, request: nodes_pb2.ReportStatusRequest, *, now: float) -> None:
    """Take in a whole report in one transaction. What concerns no pod of this node, and what is out of range, is dropped."""
    for part in parts(node, request, now=now):
        try:
            part.apply(tx)
        except Invalid as error:
            log.warning("report_dropped node=%s subject=%s error=%s", node, part.subject, error)


def _event(tx: Tx, node: str, event: Any, now: float) -> None:
    about = tx.get(kinds.POD, event.involvedObject.namespace, event.involvedObject.name)
    own_node = event.involvedObject.kind == "Node" and event.involvedObject.name == node
    if own_node or (about is not None and about.spec.nodeName == node):
        checks.check(event, "event", most=checks.MAX_EVENT)
        event.source.host = event.reportingInstance = node
        event.message = event.message[: events.MAX_MESSAGE]
        if about is not None and _is(about, event.involvedObject.uid):
            event.involvedObject.uid = about.metadata.uid
        events.put(tx, event, now=now)


def _volume(tx: Tx, node: str, item: nodes_pb2.VolumeReport, now: float) -> None:
    """A released volume of this node is deleted with its data; if that failed it stays, with the error in its status."""
    volume = tx.get(kinds.PERSISTENT_VOLUME, "", item.name)
    if volume is None or volume.metadata.uid != item.uid or reclaiming_node(volume) != node:
        return
    if item.error:
        text = item.error[: events.MAX_MESSAGE]
        if (volume.status.phase, volume.status.message) != (FAILED, text):
            volume.status.phase, volume.status.message = FAILED, text
            volume.status.lastPhaseTransitionTime.CopyFrom(codec.time_of(now))
            tx.put(kinds.PERSISTENT_VOLUME, volume)
        events.record(tx, volume, "VolumeFailedDelete", text, source=LOCAL_PATH_PROVISIONER, now=now, warning=True)
        return
    if FINALIZER_PROVISIONER in volume.metadata.finalizers:
        volume.metadata.finalizers.remove(FINALIZER_PROVISIONER)
        verbs.settle(tx, kinds.PERSISTENT_VOLUME, volume)
    if tx.get(kinds.PERSISTENT_VOLUME, "", item.name) is not None:
        deletion.delete(tx, kinds.PERSISTENT_VOLUME, "", item.name, deletion.DeleteOptions(uid=item.uid), now=now)


def _pod(tx: Tx, node: str, item: nodes_pb2.PodReport, now: float) -> None:
    pod = tx.get(kinds.POD, item.namespace, item.name)
    if pod is None or pod.spec.nodeName != node or not _is(pod, item.uid):
        return
    if item.removed and pod.metadata.deletionTimestamp.seconds:
        pod.metadata.deletionGracePeriodSeconds = 0
        if verbs.settle(tx, kinds.POD, pod):
            return
    checks.check_pod_status(item.status)
    _check_addresses(tx, node, pod, item.status)
    before = clone(pod)
    _take_pod_status(pod, item.status)
    if pod != before:
        tx.put(kinds.POD, pod)


def _check_addresses(tx: Tx, name: str, pod: Any, status: Any) -> None:
    """Of a pod's status. The Node is read without a claim: reports of pods do not conflict with those of their node."""
    row = tx.get_untracked(kinds.NODE, "", name)
    if row is not None:
        addresschecks.check_pod(row.message, pod, status)


def _take_pod_status(pod: Any, status: Any) -> None:
    own = [c for c in status.conditions if c.type in _AGENT_CONDITIONS or _evicted(c)]
    named = {*_AGENT_CONDITIONS, *(c.type for c in own)}
    foreign = [c for c in pod.status.conditions if c.type not in named]
    qos = pod.status.qosClass
    pod.status.CopyFrom(status)
    del pod.status.conditions[:]
    pod.status.conditions.extend([*foreign, *own])
    pod.status.qosClass = qos


def _is(pod: Any, uid: str) -> bool:
    """Whether the agent's pod of this uid is `pod`: itself, or the static pod that it mirrors."""
    return uid in (pod.metadata.uid, pod.metadata.annotations.get(MIRROR))


def _evicted(condition: Any) -> bool:
    """DisruptionTarget belongs to the component that disrupts the pod: for an eviction by its node, the agent."""
    return bool(condition.type == "DisruptionTarget" and condition.reason == "TerminationByKubelet")


def _node(tx: Tx, name: str, status: Any, ranges: Ranges) -> None:
    node = tx.get(kinds.NODE, "", name)
    if node is None:
        return
    checks.check_node(status, "node.status")
    addresschecks.check_node(tx, node, status, ranges)
    before = clone(node)
    _take_status(node, status)
    if node != before:
        tx.put(kinds.NODE, node)


def _take_status(node: Any, status: Any) -> None:
    """All of it but Ready, which heartbeats say; an agent says of its node only that it shuts down."""
    ready = [c for c in status.conditions if _shuts_down(c)]
    ready = ready or [c for c in node.status.conditions if c.type == "Ready" and not _shuts_down(c)]
    known = {(c.type, c.status): c for c in map(clone, node.status.conditions)}
    node.status.CopyFrom(status)
    own = [c for c in status.conditions if c.type != "Ready"]
    for condition in own:
        before = known.get((condition.type, condition.status))
        if before is None:
            continue
        # An agent that starts again does not know since when.
        condition.lastTransitionTime.CopyFrom(before.lastTransitionTime)
        if (condition.reason, condition.message) == (before.reason, before.message):
            # Else every report were a change, and a write.
            condition.lastHeartbeatTime.CopyFrom(before.lastHeartbeatTime)
    del node.status.conditions[:]
    node.status.conditions.extend([*own, *ready])


def _shuts_down(condition: Any) -> bool:
    return bool((condition.type, condition.status, condition.reason) == ("Ready", "False", "KubeletNotReady"))
