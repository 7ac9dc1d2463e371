"""Counts the pods of each PodDisruptionBudget, and how many may be evicted. Root kind: PodDisruptionBudget.

Evictions charge the budget themselves (`controlplane.resources.poddisruptionbudget`), so a late count never allows more than
there is; this raises the number when pods are ready again.
Source: kube-controller-manager's disruption.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane import events
from controlplane.controllers import podcontrol
from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.resources.poddisruptionbudget import selects, set_allowed
from controlplane.resources.registry import Registry
from controlplane.store import Event, Tx
from pinnace import intorpercent, kinds
from pinnace.clock import Ids, RandomIds
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.kinds import Kind
from pinnace.policy.v1.policy_pb2 import PodDisruptionBudget

SOURCE = "controllermanager"
# Seconds after which an evicted pod that was not deleted counts again.
DELETION_TIMEOUT = 120.0
# Owners that are followed from a pod to the workload that says how many there are.
MAX_OWNERS = 5


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
        pods = [pod for pod in pods if pod.status.phase not in podcontrol.ENDED]
        expected, desired = self._bounds(tx, item, pods, now.wall)
        left = _disrupted(item, pods, now.wall)
        healthy = sum(_is_healthy(item, pod) for pod in pods)
        status = item.status
        status.currentHealthy, status.desiredHealthy, status.expectedPods = healthy, desired, expected
        status.disruptionsAllowed = max(healthy - desired, 0) if expected > 0 else 0
        status.observedGeneration = item.metadata.generation
        set_allowed(item, now.wall)
        verbs.update_status(tx, kinds.POD_DISRUPTION_BUDGET, item, verbs.Call(now.wall, self._ids, podcontrol.MANAGER))
        return Requeue(left) if left else None

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
        """What the workloads of the pods want together."""
        sizes, unmanaged = dict[str, int](), list[str]()
        for pod in pods:
            found = _size(tx, pod)
            if found is None:
                unmanaged.append(pod.metadata.name)
            else:
                sizes[found[0]] = found[1]
        if unmanaged:
            text = f"found {len(unmanaged)} pods that are not controlled by a scalable workload, such as {unmanaged[0]}"
            events.record(
                tx, item, "UnmanagedPods", text, source=SOURCE, now=now, warning=True, kind=kinds.POD_DISRUPTION_BUDGET
            )
        return sum(sizes.values())


def _size(tx: Tx, pod: Pod) -> tuple[str, int] | None:
    """UID and replicas of the topmost workload that a pod belongs to; None without one that can be scaled."""
    found: tuple[str, int] | None = None
    child: Any = pod
    for _ in range(MAX_OWNERS):
        reference = podcontrol.controller_of(child)
        kind = tx.kinds.owner(reference.apiVersion, reference.kind) if reference is not None else None
        row = tx.get_untracked(kind, pod.metadata.namespace, reference.name) if reference is not None and kind else None
        if reference is None or kind is None or row is None or row.message.metadata.uid != reference.uid:
            break
        scale = Registry.of(tx).resource(kind).subresource("scale")
        if scale is not None:
            found = row.message.metadata.uid, scale.view(row.message).spec.replicas
        child = row.message
    return found


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
