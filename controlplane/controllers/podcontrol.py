"""Pods of a workload, for its controller: which are its own, which are available, creating some, and which to delete first.

Every function is given a transaction or objects; none writes an object other than pods and events.
Source: kube-controller-manager's controller_ref_manager.go and controller_utils.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controlplane import conditions, events
from controlplane.requests import verbs
from controlplane.resources.indexes import LABEL, OWNER
from controlplane.resources.workloads import selector_of
from controlplane.store import Event, Tx
from pinnace import kinds, labelselectors
from pinnace.clock import Ids
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.errors import ApiError
from pinnace.kinds import Kind

# Owner of the fields that controllers write.
MANAGER = "kube-controller-manager"
ENDED = ("Succeeded", "Failed")
# Pods that one transaction creates or deletes; the next transaction of the same key continues.
BATCH = 50
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


@dataclass(frozen=True, slots=True)
class Workload:
    """An object that owns pods, or objects that own pods."""

    kind: Kind
    message: Any

    @property
    def namespace(self) -> str:
        return str(self.message.metadata.namespace)

    @property
    def uid(self) -> str:
        return str(self.message.metadata.uid)

    @property
    def deleting(self) -> bool:
        return bool(self.message.metadata.deletionTimestamp.seconds)

    def own(self, child: Any) -> None:
        """Make it the controller of an object that has none."""
        meta = self.message.metadata
        child.metadata.ownerReferences.add(
            apiVersion=self.kind.api_version, kind=self.kind.kind, name=meta.name, uid=meta.uid, controller=True,
            blockOwnerDeletion=True,
        )  # fmt: skip


def controller_of(message: Any) -> Any | None:
    """The owner reference of an object's controller."""
    return next((reference for reference in message.metadata.ownerReferences if reference.controller), None)


def is_controlled_by(message: Any, uid: str) -> bool:
    reference = controller_of(message)
    return reference is not None and reference.uid == uid


def claim(tx: Tx, owner: Workload, selector: Any, kind: Kind) -> list[Any]:
    """Objects of `kind` that are the owner's own, read-only, by name. Those without a controller that its selector matches are
    adopted; those that it does not match any more are released. An owner that is being deleted adopts nothing."""
    found = {}
    for row in tx.by_index(kind, OWNER, owner.uid):
        message = row.message
        if is_controlled_by(message, owner.uid):
            if labelselectors.matches(selector, message.metadata.labels):
                found[message.metadata.name] = message
            elif not owner.deleting:
                _release(tx, kind, message, owner.uid)
    if not owner.deleting:
        for orphan in _orphans(tx, owner.namespace, selector, kind):
            adopted = tx.get(kind, owner.namespace, orphan.metadata.name)
            if adopted is not None:
                owner.own(adopted)
                tx.put(kind, adopted)
                found[orphan.metadata.name] = adopted
    return [found[name] for name in sorted(found)]


def _orphans(tx: Tx, namespace: str, selector: Any, kind: Kind) -> list[Any]:
    return [
        row.message
        for row in _selected(tx, namespace, selector, kind)
        if row.message.metadata.namespace == namespace
        and not row.message.metadata.deletionTimestamp.seconds
        and controller_of(row.message) is None
        and labelselectors.matches(selector, row.message.metadata.labels)
    ]


def _selected(tx: Tx, namespace: str, selector: Any, kind: Kind) -> Iterable[Any]:
    """A superset of what a selector matches: by the label that fewest objects have, where it names one."""
    if not selector.matchLabels:
        return tx.list_untracked(kind, namespace)
    candidates = [tuple(tx.by_index(kind, LABEL, f"{key}={value}")) for key, value in selector.matchLabels.items()]
    return min(candidates, key=len)


def _release(tx: Tx, kind: Kind, message: Any, uid: str) -> None:
    released = tx.get(kind, message.metadata.namespace, message.metadata.name)
    if released is None:
        return
    kept = [reference for reference in released.metadata.ownerReferences if reference.uid != uid]
    del released.metadata.ownerReferences[:]
    released.metadata.ownerReferences.extend(kept)
    tx.put(kind, released)


def namespace_ends(tx: Tx, name: str) -> bool:
    """Whether a namespace takes no new objects."""
    row = tx.get_untracked(kinds.NAMESPACE, "", name)
    return row is None or bool(row.message.metadata.deletionTimestamp.seconds)


def is_active(pod: Pod) -> bool:
    """Neither ended nor being deleted."""
    return pod.status.phase not in ENDED and not pod.metadata.deletionTimestamp.seconds


def is_terminating(pod: Pod) -> bool:
    """Being deleted, and not ended."""
    return pod.status.phase not in ENDED and bool(pod.metadata.deletionTimestamp.seconds)


def ready_since(pod: Pod) -> int | None:
    """When a pod became ready, in seconds since the epoch; None for one that is not ready."""
    ready = conditions.find(pod.status, "Ready")
    return int(ready.lastTransitionTime.seconds) if ready is not None and ready.status == "True" else None


def until_available(pod: Pod, seconds: int, now: float) -> float | None:
    """Seconds until a ready pod has been so for `seconds`: 0 or less is available; None: it is not ready."""
    since = ready_since(pod)
    if since is None:
        return None
    return since + seconds - now if seconds else 0.0


def make(template: Any, owner: Workload) -> Pod:
    """A new pod of a template, without a name."""
    pod = Pod()
    pod.metadata.labels.update(template.metadata.labels)
    pod.metadata.annotations.update(template.metadata.annotations)
    pod.metadata.finalizers.extend(template.metadata.finalizers)
    pod.metadata.namespace = owner.namespace
    pod.spec.CopyFrom(template.spec)
    owner.own(pod)
    return pod


def rejection(error: ApiError, pod: Pod) -> str:
    """Why a pod could not be created, the same text each time: Kubernetes names a pod only after admission."""
    return str(error).replace(pod.metadata.name or pod.metadata.generateName, pod.metadata.generateName)


class PodControl:
    """Creates and deletes pods for one controller, and records events about it. `source` is the events' component."""

    def __init__(self, source: str, ids: Ids) -> None:
        self._source = source
        self._ids = ids

    def call(self, now: float) -> verbs.Call:
        return verbs.Call(now, self._ids, MANAGER)

    def create(self, tx: Tx, pod: Pod, owner: Workload, now: float) -> None:
        """Raises ApiError: the caller reports it (`failed`)."""
        verbs.create(tx, kinds.POD, pod, self.call(now))
        self.event(tx, owner, "SuccessfulCreate", f"Created pod: {pod.metadata.name}", now)

    def failed(self, tx: Tx, owner: Workload, reason: str, now: float) -> None:
        """Record that a pod could not be created."""
        self.event(tx, owner, "FailedCreate", f"Error creating: {reason}", now, warning=True)

    def delete(self, tx: Tx, pod: Pod, owner: Workload, now: float) -> None:
        meta = pod.metadata
        verbs.delete(tx, kinds.POD, meta.namespace, meta.name, self.call(now), uid=meta.uid)
        self.event(tx, owner, "SuccessfulDelete", f"Deleted pod: {meta.name}", now)

    def event(self, tx: Tx, owner: Workload, reason: str, message: str, now: float, *, warning: bool = False) -> None:
        events.record(tx, owner.message, reason, message, source=self._source, now=now, warning=warning, kind=owner.kind)


def deletion_order(pods: Iterable[Pod], related: Mapping[str, int], now: float) -> list[Pod]:
    """Pods of one workload, those to delete first in front. `related`: pods of the same work by node.

    Pods without a node, pending, not ready, cheap, crowded on their node, ready or created lately, and restarted often come
    first.
    Times count by their order of magnitude, so that neither the oldest nor the youngest are always chosen."""
    return sorted(pods, key=lambda pod: _rank(pod, related, now))


_PHASES: Mapping[str, int] = {"Pending": 0, "Unknown": 1, "Running": 2}


def progress_rank(pod: Pod) -> tuple[bool, int, bool]:
    """How far a pod is: whether it has a node, its phase, and whether it is ready."""
    return bool(pod.spec.nodeName), _PHASES.get(pod.status.phase, 0), ready_since(pod) is not None


def restart_rank(pod: Pod) -> tuple[int, int]:
    """The most restarts of a container, then those of a sidecar, negative: more restarts come first."""
    sidecars = {item.name for item in pod.spec.initContainers if item.restartPolicy == "Always"}
    regular = max((status.restartCount for status in pod.status.containerStatuses), default=0)
    sidecar = max((item.restartCount for item in pod.status.initContainerStatuses if item.name in sidecars), default=0)
    return -regular, -sidecar


def _rank(pod: Pod, related: Mapping[str, int], now: float) -> tuple[Any, ...]:
    since = ready_since(pod)
    return (
        *progress_rank(pod),
        deletion_cost(pod),
        -related.get(pod.spec.nodeName, 0),
        _magnitude(now - since) if since is not None else 0,
        *restart_rank(pod),
        _magnitude(now - pod.metadata.creationTimestamp.seconds),
        pod.metadata.uid,
    )


def _magnitude(seconds: float) -> int:
    return max(int(seconds), 0).bit_length()


def deletion_cost(pod: Pod) -> int:
    """The annotation's int32; 0 without one, and for what is no such number."""
    text = pod.metadata.annotations.get(DELETION_COST, "0")
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 10 or (len(digits) > 1 and digits[0] == "0"):
        return 0
    cost = int(text)
    return cost if -(1 << 31) <= cost < 1 << 31 else 0


def by_node(pods: Iterable[Pod]) -> dict[str, int]:
    """How many of the pods are on each node."""
    counts: dict[str, int] = {}
    for pod in pods:
        counts[pod.spec.nodeName] = counts.get(pod.spec.nodeName, 0) + 1
    return counts


def owner_key(message: Any, kind: Kind) -> str | None:
    """`namespace/name` of the controller, if it is of `kind`."""
    reference = controller_of(message)
    if reference is None or reference.kind != kind.kind or reference.apiVersion.rpartition("/")[0] != kind.group:
        return None
    return f"{message.metadata.namespace}/{reference.name}"


def keys(event: Event, view: Tx, kind: Kind) -> Iterable[str]:
    """Keys of the workloads of `kind` that an event concerns: of one of them, or of an object that they own or may adopt."""
    if event.row.kind is kind:
        yield "/".join(event.row.key.rsplit("/", 2)[1:])
        return
    for row in (event.old, event.new):
        key = owner_key(row.message, kind) if row is not None else None
        if key is not None:
            yield key
    if event.new is not None and controller_of(event.new.message) is None:
        yield from selecting(view, kind, event.new.message, lambda item: selector_of(item.spec))


def selecting(tx: Tx, kind: Kind, message: Any, selector: Callable[[Any], Any]) -> Iterable[str]:
    """Keys of the workloads of `kind` that would adopt an object without a controller."""
    for row in tx.list_untracked(kind, message.metadata.namespace):
        if labelselectors.matches(selector(row.message), message.metadata.labels):
            yield f"{message.metadata.namespace}/{row.message.metadata.name}"
