"""RuntimeClasses: their own rules, and what a pod takes over from the one that it names. Pure.

Source: the behaviour of Kubernetes' RuntimeClass admission plugin and of its validation of node.k8s.io/v1.
"""

from __future__ import annotations

from typing import Any

from pinnace import kinds
from pinnace.admission import meta, resources, tolerations
from pinnace.admission.kindrules import KindRules
from pinnace.errors import Cause, Forbidden
from pinnace.node.v1 import runtimeclass_pb2


def validate(item: Any) -> list[Cause]:
    errors = [*resources.amounts("overhead.podFixed", item.overhead.podFixed)]
    errors += meta.labels("scheduling.nodeSelector", item.scheduling.nodeSelector)
    return errors + tolerations.validate("scheduling.tolerations", item.scheduling.tolerations)


def enter(pod: Any, found: Any | None, *, new: bool) -> None:
    """Fill in overhead, node selector and tolerations from the class that a pod names, `found` when it exists.

    A pod that is not new was let in already: its class may be gone, but what an apply left out is filled in again.
    Raises Forbidden for a class that does not exist or contradicts the pod."""
    name = pod.spec.runtimeClassName
    if not name:
        if new and pod.spec.overhead:
            raise _refused(pod, "Pod Overhead set without corresponding RuntimeClass defined Overhead")
        return
    if found is None:
        if new:
            raise _refused(pod, f'RuntimeClass "{name}" not found')
        return
    _enter_overhead(pod, found.overhead.podFixed)
    _enter_scheduling(pod, found.scheduling)


def _enter_overhead(pod: Any, fixed: Any) -> None:
    wanted = {key: value.string for key, value in fixed.items()}
    given = {key: value.string for key, value in pod.spec.overhead.items()}
    if given and given != wanted:
        raise _refused(pod, "Pod's Overhead doesn't match RuntimeClass's defined Overhead")
    for key, text in wanted.items():
        pod.spec.overhead[key].string = text


def _enter_scheduling(pod: Any, scheduling: Any) -> None:
    for key, value in sorted(scheduling.nodeSelector.items()):
        given = pod.spec.nodeSelector.get(key, value)
        if given != value:
            path = "scheduling.nodeSelector"
            raise _refused(pod, f"conflict: runtimeClass.{path}[{key}] = {value}; pod.spec.nodeSelector[{key}] = {given}")
        pod.spec.nodeSelector[key] = value
    for item in scheduling.tolerations:
        if item not in pod.spec.tolerations:
            pod.spec.tolerations.add().CopyFrom(item)


def _refused(pod: Any, why: str) -> Forbidden:
    name = (pod.metadata.name or pod.metadata.generateName)[:253]
    return Forbidden(f'{kinds.POD.resource} "{name}" is forbidden: pod rejected: {why}', kind=kinds.POD.resource, name=name)


RULES = KindRules[runtimeclass_pb2.RuntimeClass](validate=validate)
