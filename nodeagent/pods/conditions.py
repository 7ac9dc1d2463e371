"""A pod's conditions that its agent owns, and their transition times. Pure."""

from __future__ import annotations

from typing import Any

from nodeagent.pods.model import RESIZE, ObservedState
from nodeagent.pods.restarts import initialized, restart_of_all
from pinnace import codec
from pinnace.heldresources import IN_PROGRESS, PENDING
from pinnace.podspec import RESTART_ALL, is_sidecar


def put(pod: Any, observed: ObservedState, status: Any, previous: Any | None, now: float) -> None:
    """Add the conditions to a status whose phase and containers are filled in. `previous` gives transition times."""
    shown = [*status.containerStatuses, *_sidecars(pod, status)]
    containers = _containers_ready(status.phase, [item.name for item in shown if not item.ready])
    for type_, (value, reason, message) in {
        "PodReadyToStartContainers": (observed.sandbox and not observed.released, "", ""),
        "Initialized": _initialized(pod, observed, status),
        "ContainersReady": containers,
        "Ready": _ready(pod, containers),
    }.items():
        _add(status, previous, now, type_, "True" if value else "False", reason, message)
    if _may_restart_all(pod):
        restarting = restart_of_all(pod, observed) is not None and status.phase not in ("Succeeded", "Failed")
        reason = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(status.phase, "")
        _add(status, previous, now, "AllContainersRestarting", "True" if restarting else "False", reason, "")
    if status.phase not in ("Succeeded", "Failed"):
        _resize(pod, observed, status, previous, now)
    if observed.eviction is not None and observed.eviction.disruption:
        _add(status, previous, now, "DisruptionTarget", "True", "TerminationByKubelet", observed.eviction.message)


def _resize(pod: Any, observed: ObservedState, status: Any, previous: Any | None, now: float) -> None:
    """Of other resources that are wanted, or allocated and not in force yet."""
    pending, failure = observed.resize_pending, observed.step_failures.get(RESIZE)
    shown: dict[str, tuple[str, str]] = {}
    if pending is not None:
        shown[PENDING] = (pending.reason, pending.message)
    if observed.resizing:
        shown[IN_PROGRESS] = (failure.reason, failure.message) if failure is not None else ("", "")
    for type_, (reason, message) in shown.items():
        _add(status, previous, now, type_, "True", reason, message)
        status.conditions[-1].observedGeneration = pod.metadata.generation


def _may_restart_all(pod: Any) -> bool:
    containers = (*pod.spec.initContainers, *pod.spec.containers)
    return any(rule.action == RESTART_ALL for container in containers for rule in container.restartPolicyRules)


def _sidecars(pod: Any, status: Any) -> list[Any]:
    names = {container.name for container in pod.spec.initContainers if is_sidecar(container)}
    return [item for item in status.initContainerStatuses if item.name in names]


def _containers_ready(phase: str, unready: list[str]) -> tuple[bool, str, str]:
    if phase in ("Succeeded", "Failed"):
        return False, "PodCompleted" if phase == "Succeeded" else "PodFailed", ""
    if unready:
        return False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    return True, "", ""


def _ready(pod: Any, containers: tuple[bool, str, str]) -> tuple[bool, str, str]:
    """ContainersReady, and every readiness gate: a condition that another component sets."""
    if not containers[0]:
        return containers
    kept = {condition.type: condition.status for condition in pod.status.conditions}
    wrong = []
    for gate in pod.spec.readinessGates:
        text = f'corresponding condition of pod readiness gate "{gate.conditionType}" '
        if gate.conditionType not in kept:
            wrong.append(text + "does not exist.")
        elif kept[gate.conditionType] != "True":
            wrong.append(
                f'the status of pod readiness gate "{gate.conditionType}" is not "True", but {kept[gate.conditionType]}'
            )
    return (False, "ReadinessGatesNotReady", ", ".join(wrong)) if wrong else containers


def _initialized(pod: Any, observed: ObservedState, status: Any) -> tuple[bool, str, str]:
    if initialized(pod, observed):
        return True, "PodCompleted" if status.phase == "Succeeded" else "", ""
    incomplete = [item.name for item in status.initContainerStatuses if not item.ready]
    return False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(incomplete)}]"


def _add(status: Any, previous: Any | None, now: float, type_: str, value: str, reason: str, message: str) -> None:
    condition = status.conditions.add(type=type_, status=value, reason=reason, message=message)
    before = next((c for c in previous.conditions if c.type == type_), None) if previous is not None else None
    if before is not None and before.status == condition.status:
        condition.lastTransitionTime.CopyFrom(before.lastTransitionTime)
    else:
        condition.lastTransitionTime.CopyFrom(codec.time_of(now))
