"""The number of replicas that a metric proposes: the average of the pods against the target. Pure.

Pods without a measurement, and pods that have just started, count so that they dampen a change and never turn it around.
Source: kube-controller-manager's replica_calculator.go and metrics/utilization.go.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controlplane import conditions
from controlplane.podusage import PodUse
from pinnace import podspec, quantity
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.podresources import CPU

MAX_INT32 = (1 << 31) - 1
# Nanoseconds of a processor in a thousandth of one.
_NANO = 1_000_000


class Uncomputable(Exception):
    """A metric gives no number of replicas; the text says why."""


@dataclass(frozen=True, slots=True)
class Startup:
    """Seconds after a pod's start in which its use of processors is not trusted (`initialization`), and in which a change of
    its readiness is its first (`readiness`)."""

    initialization: float = 300.0
    readiness: float = 30.0


@dataclass(frozen=True, slots=True)
class Tolerances:
    """Distances from a ratio of 1 within which nothing changes."""

    down: float = 0.1
    up: float = 0.1

    def cover(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True, slots=True)
class Target:
    """The wanted average of a resource: `utilization` in percent of the requests, or `value` in thousandths. Of one container
    where it is named."""

    resource: str
    utilization: int | None = None
    value: int = 0
    container: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """`utilization` in percent where that is the target; `average` in thousandths."""

    replicas: int
    utilization: int | None
    average: int


@dataclass(slots=True)
class _Groups:
    """Used amounts in thousandths of the pods that count, and the names of the others."""

    used: dict[str, int] = field(default_factory=dict)
    unready: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def propose(
    target: Target, pods: Sequence[Pod], usage: Mapping[str, PodUse], current: int, tolerances: Tolerances, startup: Startup
) -> Proposal:  # fmt: skip
    """Replicas for the pods of one workload, which has `current` of them; `usage` by UID. Raises Uncomputable."""
    if not pods:
        raise Uncomputable("no pods returned by selector while calculating replica count")
    if not any(pod.metadata.uid in usage for pod in pods):
        text = f"unable to get metrics for resource {target.resource}: no metrics returned from resource metrics API"
        raise Uncomputable(text)
    groups = _grouped(target, pods, usage, startup)
    if not groups.used:
        raise Uncomputable("did not receive metrics for targeted pods (pods might be unready)")
    scale = _Scale(target, _requests(target, pods) if target.utilization is not None else {})
    ratio, utilization, average = scale.ratio(groups.used)
    return Proposal(_replicas(scale, groups, ratio, current, tolerances), utilization, average)


def _replicas(scale: _Scale, groups: _Groups, ratio: float, current: int, tolerances: Tolerances) -> int:
    unready_count = bool(groups.unready) and ratio > 1.0
    if not unready_count and not groups.missing:
        return current if tolerances.cover(ratio) else _ceil(ratio * len(groups.used))
    used = dict(groups.used)
    if ratio < 1.0:
        used |= {name: scale.expected(name) for name in groups.missing}
    elif ratio > 1.0:
        used |= dict.fromkeys(groups.missing, 0)
    if unready_count:
        used |= dict.fromkeys(groups.unready, 0)
    again, _, _ = scale.ratio(used)
    if tolerances.cover(again) or (ratio < 1.0 < again) or (again < 1.0 < ratio):
        return current
    found = _ceil(again * len(used))
    # Pods that were not counted before must not turn the direction around.
    return current if (again < 1.0 and found > current) or (again > 1.0 and found < current) else found


def _ceil(value: float) -> int:
    return min(math.ceil(min(value, float(MAX_INT32))), MAX_INT32)


class _Scale:
    """Ratios of used amounts to a target, given the requests of each pod in thousandths."""

    def __init__(self, target: Target, requests: Mapping[str, int]) -> None:
        self._target = target
        self._requests = requests

    def ratio(self, used: Mapping[str, int]) -> tuple[float, int | None, int]:
        """The ratio, the utilization in percent where it is the target, and the average. Raises Uncomputable."""
        total, wanted = sum(used.values()), self._target.utilization
        average = total // len(used)
        if wanted is None:
            return average / self._target.value, None, average
        requested = sum(self._requests[name] for name in used)
        if not requested:
            raise Uncomputable("no metrics returned matched known pods")
        utilization = min(total * 100 // requested, MAX_INT32)
        return utilization / wanted, utilization, average

    def expected(self, name: str) -> int:
        """The amount that a pod without a measurement is taken to use before replicas are removed."""
        if self._target.utilization is None:
            return self._target.value
        return self._requests[name] * max(100, self._target.utilization) // 100


def _grouped(target: Target, pods: Iterable[Pod], usage: Mapping[str, PodUse], startup: Startup) -> _Groups:
    groups = _Groups()
    for pod in pods:
        if pod.metadata.deletionTimestamp.seconds or pod.status.phase == "Failed":
            continue
        use = usage.get(pod.metadata.uid)
        used = _used(target, use) if use is not None else None
        if pod.status.phase == "Pending":
            groups.unready.append(pod.metadata.name)
        elif use is None or used is None:
            groups.missing.append(pod.metadata.name)
        elif target.resource == CPU and _starts(pod, use, startup):
            groups.unready.append(pod.metadata.name)
        else:
            groups.used[pod.metadata.name] = used
    return groups


def _used(target: Target, use: PodUse) -> int | None:
    """Thousandths; None for a container that was not measured."""
    if target.container:
        found = [use.containers[target.container]] if target.container in use.containers else []
    else:
        found = list(use.containers.values())
    if not found:
        return None
    return sum(-(-each.cpu // _NANO) if target.resource == CPU else each.memory * 1000 for each in found)


def _starts(pod: Pod, use: PodUse, startup: Startup) -> bool:
    """Whether a pod's use of processors is still that of its start. Compares times of the pod's node alone."""
    ready = conditions.find(pod.status, "Ready")
    if ready is None or not pod.status.startTime.seconds:
        return True
    started, changed, unready = pod.status.startTime.seconds, ready.lastTransitionTime.seconds, ready.status == "False"
    if started + startup.initialization > use.time:
        # A whole window since the last change of its readiness.
        return bool(unready or use.time < changed + use.window)
    # Never ready so far.
    return bool(unready and started + startup.readiness > changed)


def _requests(target: Target, pods: Iterable[Pod]) -> dict[str, int]:
    """Requests in thousandths by the name of the pod. Raises Uncomputable for a container without one."""
    return {pod.metadata.name: _request(target, pod) for pod in pods}


def _request(target: Target, pod: Pod) -> int:
    sidecars = [container for container in pod.spec.initContainers if podspec.is_sidecar(container)]
    found = [item for item in (*pod.spec.containers, *sidecars) if target.container in ("", item.name)]
    if not found and target.container:
        raise Uncomputable(f"container {target.container} not found in Pod {pod.metadata.name}")
    return min(sum(_container_request(target.resource, item, pod) for item in found), quantity.MAX)


def _container_request(resource: str, container: Any, pod: Pod) -> int:
    requests = container.resources.requests
    if resource not in requests:
        text = f"missing request for {resource} in container {container.name} of Pod {pod.metadata.name}"
        raise Uncomputable(text)
    return quantity.milli(requests[resource].string)
