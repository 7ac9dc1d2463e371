"""Counts the pods of each PodDisruptionBudget, and how many may be evicted. Root kind: PodDisruptionBudget.

Evictions charge the budget themselves (`controlplane.resources.poddisruptionbudget`), so a late count never allows more than
there is; this raises the number when pods are ready again.
Source: kube-controller-manager's disruption.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane import conditions, events
from controlplane.controllers import podcontrol
from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.resources.poddisruptionbudget import DISRUPTION_ALLOWED, SYNC_FAILED, selects, set_allowed
from controlplane.resources.registry import Registry
from controlplane.store import Event, Tx
from pinnace import intorpercent, kinds, labelselectors
from pinnace.clock import Ids, RandomIds
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.kinds import Kind
from pinnace.policy.v1.policy_pb2 import PodDisruptionBudget

SOURCE = "controllermanager"
# Seconds after which an evicted pod that was not deleted counts again.
DELETION_TIMEOUT = 120.0


class Uncountable(Exception):
    """The number of pods that should be there is unknown; the message says why."""


class PodDisruptionBudgets:
    name = "disruption"
    watches: tuple[Kind, ...] = (
        kinds.POD_DISRUPTION_BUDGET, kinds.POD, kinds.DEPLOYMENT, kinds.REPLICA_SET, kinds.STATEFUL_SET,
    )  # fmt: skip

    def __init__(self, ids: Ids | None = None) -> None:
        self._ids = ids or RandomIds()

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        namespace, name = event.row.key.rsplit("/", 2)[1:]
        if event.row.kind is kinds.POD_DISRUPTION_BUDGET:
            yield f"{namespace}/{name}"
            return
        pods = [row.message for row in (event.old, event.new) if row is not None and event.row.kind is kinds.POD]
        for row in view.list_untracked(kinds.POD_DISRUPTION_BUDGET, namespace):
            # A workload's size concerns every budget of the namespace.
            if not pods or any(selects(row.message, pod) for pod in pods):
                yield f"{namespace}/{row.message.metadata.name}"

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace, _, name = key.partition("/")
        item = tx.get(kinds.POD_DISRUPTION_BUDGET, namespace, name)
        if item is None or item.metadata.deletionTimestamp.seconds:
            return None
        pods = [row.message for row in tx.list_untracked(kinds.POD, namespace) if selects(item, row.message)]
        if not pods and (item.status.expectedPods or item.status.observedGeneration != item.metadata.generation):
            self._event(tx, item, "NoPods", "No matching pods found", now.wall, warning=False)
        try:
            expected, desired = self._bounds(tx, item, pods, now.wall)
        except Uncountable as error:
            self._forbid(tx, item, str(error), now.wall)
            return None
        self._report_kept(tx, item, pods, now.wall)
        left = _disrupted(item, pods, now.wall)
        healthy = sum(_is_healthy(item, pod) for pod in pods)
        status = item.status
        status.currentHealthy, status.desiredHealthy, status.expectedPods = healthy, desired, expected
        status.disruptionsAllowed = max(healthy - desired, 0) if expected > 0 else 0
        status.observedGeneration = item.metadata.generation
        set_allowed(item, now.wall)
        self._write(tx, item, now.wall)
        return Requeue(left) if left else None

    def _report_kept(self, tx: Tx, item: PodDisruptionBudget, pods: list[Pod], now: float) -> None:
        """An event about each pod that was evicted and, after a time, is not deleted."""
        text = f"Pod was expected by PDB {item.metadata.namespace}/{item.metadata.name} to be deleted but it wasn't"
        for pod in pods:
            since = item.status.disruptedPods.get(pod.metadata.name)
            if since is not None and not pod.metadata.deletionTimestamp.seconds and since.seconds + DELETION_TIMEOUT <= now:
                events.record(tx, pod, "NotDeleted", text, source=SOURCE, now=now, warning=True)

    def _write(self, tx: Tx, item: PodDisruptionBudget, now: float) -> None:
        verbs.update_status(tx, kinds.POD_DISRUPTION_BUDGET, item, verbs.Call(now, self._ids, podcontrol.MANAGER))

    def _event(
        self, tx: Tx, item: PodDisruptionBudget, reason: str, text: str, now: float, *, warning: bool = True
    ) -> None:  # fmt: skip
        events.record(tx, item, reason, text, source=SOURCE, now=now, warning=warning, kind=kinds.POD_DISRUPTION_BUDGET)

    def _forbid(self, tx: Tx, item: PodDisruptionBudget, why: str, now: float) -> None:
        """Allow no eviction, as nothing is known; the other numbers stay, and so does the observed generation."""
        item.status.disruptionsAllowed = 0
        if conditions.put(item.status, DISRUPTION_ALLOWED, "False", now=now, reason=SYNC_FAILED, message=why):
            text = f"Failed to calculate the number of expected pods: {why}"
            self._event(tx, item, "CalculateExpectedPodCountFailed", text, now)
        found = conditions.find(item.status, DISRUPTION_ALLOWED)
        assert found is not None
        found.observedGeneration = item.status.observedGeneration
        self._write(tx, item, now)

    def _bounds(self, tx: Tx, item: PodDisruptionBudget, pods: list[Pod], now: float) -> tuple[int, int]:
        """Pods that count, and those that must be healthy."""
        spec = item.spec
        if spec.HasField("maxUnavailable"):
            expected = self._expected(tx, item, pods, now)
            return expected, max(expected - intorpercent.scaled(spec.maxUnavailable, expected, round_up=True), 0)
        if spec.minAvailable.type == 0:
            return len(pods), spec.minAvailable.intVal
        expected = self._expected(tx, item, pods, now)
        return expected, intorpercent.scaled(spec.minAvailable, expected, round_up=True)

    def _expected(self, tx: Tx, item: PodDisruptionBudget, pods: list[Pod], now: float) -> int:
        """What the workloads of the pods want together. Raises Uncountable."""
        sizes, unmanaged, known = dict[str, int](), False, set[str]()
        for pod in pods:
            reference = podcontrol.controller_of(pod)
            if reference is None:
                unmanaged = True
            elif reference.uid not in known:
                known.add(reference.uid)
                uid, size = _size(tx, pod, reference)
                sizes[uid] = size
        if unmanaged:
            self._event(tx, item, "UnmanagedPods", _unmanaged(item), now)
        return sum(sizes.values())


def _unmanaged(item: PodDisruptionBudget) -> str:
    selector = labelselectors.text(item.spec.selector)
    return (
        f"Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the status "
        "of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please "
        'set ".spec.minAvailable" field of the PDB to an integer value.'
    )


def _size(tx: Tx, pod: Pod, reference: Any) -> tuple[str, int]:
    """UID and replicas of the workload that controls a pod, of a Deployment in place of its ReplicaSet. Raises Uncountable."""
    kind, found = _owner(tx, pod, reference)
    if kind is kinds.REPLICA_SET and found is not None and podcontrol.owner_key(found, kinds.DEPLOYMENT):
        # A ReplicaSet whose Deployment is gone counts by itself.
        deployment = _owner(tx, pod, podcontrol.controller_of(found))[1]
        if deployment is not None:
            kind, found = kinds.DEPLOYMENT, deployment
    scale = Registry.of(tx).resource(kind).subresource("scale")
    if scale is None:
        raise Uncountable(f"{kind.resource} does not implement the scale subresource")
    if found is None:
        raise Uncountable(f'found no controllers for pod "{pod.metadata.name}"')
    return found.metadata.uid, scale.view(found).spec.replicas


def _owner(tx: Tx, pod: Pod, reference: Any) -> tuple[Kind, Any | None]:
    """The kind and the object that a reference names; None for one that is gone. Raises Uncountable."""
    kind = tx.kinds.owner(reference.apiVersion, reference.kind)
    if kind is None:
        raise Uncountable(f'no matches for kind "{reference.kind}" in version "{reference.apiVersion}"')
    row = tx.get_untracked(kind, pod.metadata.namespace, reference.name)
    return kind, row.message if row is not None and row.message.metadata.uid == reference.uid else None


def _is_healthy(item: PodDisruptionBudget, pod: Pod) -> bool:
    if pod.metadata.deletionTimestamp.seconds or pod.metadata.name in item.status.disruptedPods:
        return False
    return podcontrol.ready_since(pod) is not None


def _disrupted(item: PodDisruptionBudget, pods: list[Pod], now: float) -> float:
    """Remove evictions that are seen as deletions, or that took too long; seconds until the next is too old, 0 for none."""
    kept, waits = item.status.disruptedPods, list[float]()
    live = {pod.metadata.name for pod in pods if not pod.metadata.deletionTimestamp.seconds}
    for name in list(kept):
        left = kept[name].seconds + DELETION_TIMEOUT - now
        if name not in live or left <= 0:
            del kept[name]
        else:
            waits.append(left)
    return min(waits, default=0.0)
