"""Which pods a node refuses at its door. Pure.

The scheduler has looked already, but it may be late, or the pod names its node itself. Source: kubelet's predicates
(GeneralPredicates) and its eviction manager's admission; reasons and messages are kubelet's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nodeagent.eviction import words
from nodeagent.eviction.thresholds import MEMORY_PRESSURE
from nodeagent.node.resources import MONITOR
from pinnace import hostports, nodeselectors, podresources, podspec
from pinnace.core.v1 import scheduling_pb2
from pinnace.heldresources import DEFERRED, INFEASIBLE
from pinnace.podresources import MEMORY
from pinnace.taints import tolerated
from pinnace.wellknown import TAINT_BY_CONDITION

PODS = "pods"


@dataclass(frozen=True, slots=True)
class Refusal:
    reason: str
    message: str


def admit(
    pod: Any, others: Iterable[Any], *, allocatable: Mapping[str, int], name: str, labels: Mapping[str, str],
    pressure: frozenset[str], monitors: int,
) -> Refusal | None:  # fmt: skip
    """Why this node does not take `pod`, which has not begun; `others` are the pods that it runs, `labels` those
    that the node `name` gives itself, `monitors` the bytes that it keeps for their monitors. None: it does."""
    running = list(others)
    return (
        _pressed(pod, pressure) or _misplaced(pod, name, labels) or _taken(pod, running) or _too_big(pod, running, allocatable)
        or _too_many_containers(pod, running, allocatable, monitors)
    )  # fmt: skip


def _pressed(pod: Any, pressure: frozenset[str]) -> Refusal | None:
    if not pressure or podresources.critical(pod):
        return None
    if pressure == {MEMORY_PRESSURE}:
        # A pod that asked for memory has a claim to it; one that asked for nothing would be the first to go.
        if podresources.qos_class(pod.spec) != podresources.BEST_EFFORT or _tolerates(pod, TAINT_BY_CONDITION[MEMORY_PRESSURE]):
            return None
    return Refusal("Evicted", words.under_pressure(pressure))


def _tolerates(pod: Any, key: str) -> bool:
    taint = scheduling_pb2.Taint(key=key, effect="NoSchedule")
    return tolerated(pod.spec.tolerations, taint)


def _misplaced(pod: Any, name: str, labels: Mapping[str, str]) -> Refusal | None:
    """Other labels are given to the node in the cluster and are not known here; the scheduler compares those."""
    selected = all(labels.get(key, value) == value for key, value in pod.spec.nodeSelector.items())
    required = nodeselectors.required(pod.spec)
    if selected and (required is None or any(_may_match(term, name, labels) for term in nodeselectors.terms(required))):
        return None
    return Refusal("NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector")


def _may_match(term: nodeselectors.Term, name: str, labels: Mapping[str, str]) -> bool:
    known = tuple(item for item in term.expressions if item.key in labels)
    return term._replace(expressions=known).matches(name, labels)


def _taken(pod: Any, others: list[Any]) -> Refusal | None:
    held = [port for other in others for port in hostports.of(other)]
    if not hostports.conflict(hostports.of(pod), held):
        return None
    return Refusal("NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports")


def admit_resize(pod: Any, present: Any, others: Iterable[Any], *, allocatable: Mapping[str, int]) -> Refusal | None:
    """Why this node does not give `pod` the resources that it is to have, which it has as `present` now; `others` have what
    is allocated to them. Infeasible: never; Deferred: not now. Less than before is always given.

    Source: kubelet's allocation manager (canResizePod)."""
    if podresources.is_static(pod):
        return Refusal(INFEASIBLE, "In-place resize of static-pods is not supported")
    before, wanted = podresources.requests(present.spec), podresources.requests(pod.spec)
    more = {name: value for name, value in wanted.items() if value > before.get(name, 0)}
    for name, value in more.items():
        if value > allocatable.get(name, value):
            text = f"Node didn't have enough capacity: {name}, requested: {value}, capacity: {allocatable[name]}"
            return Refusal(INFEASIBLE, text)
    full = _full(more, others, allocatable)
    return None if full is None else Refusal(DEFERRED, full.message)


def resize_order(pod: Any, present: Any) -> tuple[bool, int, bool]:
    """Sorts pods for `admit_resize`: those first that give back, then by priority, then Guaranteed ones."""
    before = podresources.requests(present.spec)
    increases = any(value > before.get(name, 0) for name, value in podresources.requests(pod.spec).items())
    return increases, -pod.spec.priority, podresources.qos_class(pod.spec) != podresources.GUARANTEED


def _too_big(pod: Any, others: Iterable[Any], allocatable: Mapping[str, int]) -> Refusal | None:
    asked = {PODS: 1, **{name: value for name, value in podresources.requests(pod.spec).items() if value}}
    return _full(asked, others, allocatable)


def _too_many_containers(pod: Any, others: list[Any], allocatable: Mapping[str, int], monitors: int) -> Refusal | None:
    """Monitors are in no pod's cgroup. Those beyond what the node keeps for them take memory that pods could request."""
    own = _containers(pod) * MONITOR
    excess = own + sum(_containers(other) for other in others) * MONITOR - monitors
    if excess <= 0 or MEMORY not in allocatable:
        return None
    asked = min(own, excess) + podresources.requests(pod.spec).get(MEMORY, 0)
    used = excess - min(own, excess) + sum(podresources.requests(other.spec).get(MEMORY, 0) for other in others)
    if used + asked <= allocatable[MEMORY]:
        return None
    text = f"Node didn't have enough resource: memory, requested: {asked}, used: {used}, capacity: {allocatable[MEMORY]}"
    return Refusal("OutOfmemory", f"{text} (with the processes that look after {_containers(pod)} containers)")


def _containers(pod: Any) -> int:
    """Those that may run at a time: an init container that is no sidecar has ended before the others start."""
    sidecars = sum(map(podspec.is_sidecar, pod.spec.initContainers))
    return len(pod.spec.containers) + sidecars + len(pod.spec.ephemeralContainers)


def _full(asked: Mapping[str, int], others: Iterable[Any], allocatable: Mapping[str, int]) -> Refusal | None:
    used = dict.fromkeys(asked, 0)
    for other in others:
        taken = {PODS: 1, **podresources.requests(other.spec)}
        for name in used:
            used[name] += taken.get(name, 0)
    for name, wanted in asked.items():
        if name in allocatable and used[name] + wanted > allocatable[name]:
            text = f"Node didn't have enough resource: {name}, requested: {wanted}, used: {used[name]}, "
            return Refusal(f"OutOf{name}", f"{text}capacity: {allocatable[name]}")
    return None
