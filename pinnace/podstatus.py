"""READY, STATUS and RESTARTS of a pod, by kubectl's rules.

Source: printPod in kubernetes' pkg/printers/internalversion/printers.go. One rule differs: a pod that failed as a
whole (Evicted, DeadlineExceeded) shows that reason, and not how its containers ended afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pinnace.podspec import is_sidecar

TERMINAL = ("Succeeded", "Failed")
GATED = "SchedulingGated"
_WAITS_FOR_INIT = ("", "PodInitializing")


@dataclass(frozen=True, slots=True)
class PodSummary:
    """`last_restart` in seconds since the epoch; 0 when no container has restarted."""

    ready: int
    total: int
    status: str
    restarts: int
    last_restart: int


def summarize(pod: Any) -> PodSummary:
    sidecars = {container.name for container in pod.spec.initContainers if is_sidecar(container)}
    reached, blocking = _initialization(pod, sidecars)
    initialized = not blocking or _is_true(pod, "Initialized")
    main = list(pod.status.containerStatuses) if initialized else []
    counted = [item for item in reached if item.name in sidecars or not initialized] + main
    started = [item for item in reached if item.name in sidecars and item.started]
    return PodSummary(
        ready=sum(1 for item in started if item.ready) + sum(map(_is_running, main)),
        total=len(pod.spec.containers) + len(sidecars),
        status=_status(pod, blocking, initialized=initialized),
        restarts=sum(item.restartCount for item in counted),
        last_restart=max((item.lastState.terminated.finishedAt.seconds for item in counted), default=0),
    )


def _status(pod: Any, blocking: str, *, initialized: bool) -> str:
    phase, reason = pod.status.phase, pod.status.reason
    deleted = bool(pod.metadata.deletionTimestamp.seconds)
    if deleted and reason == "NodeLost":
        return "Unknown"
    if deleted and phase not in TERMINAL:
        return "Terminating"
    if phase == "Failed" and reason:
        return str(reason)
    gated = any(item.type == "PodScheduled" and item.reason == GATED for item in pod.status.conditions)
    status = blocking or (GATED if gated else reason or phase or "Unknown")
    return _of_containers(pod, status) if initialized else status


def _initialization(pod: Any, sidecars: set[str]) -> tuple[list[Any], str]:
    """The statuses of the init containers up to the one that the others wait for, and its `Init:...`."""
    statuses = list(pod.status.initContainerStatuses)
    for index, item in enumerate(statuses):
        state = item.state
        succeeded = state.HasField("terminated") and state.terminated.exitCode == 0
        if succeeded or (item.name in sidecars and item.started):
            continue
        text = f"{index}/{len(pod.spec.initContainers)}"
        if state.HasField("terminated"):
            text = _ended(state.terminated)
        elif state.waiting.reason not in _WAITS_FOR_INIT:
            text = state.waiting.reason
        return statuses[: index + 1], f"Init:{text}"
    return statuses, ""


def _of_containers(pod: Any, status: str) -> str:
    """What the first container that waits or has ended says; Completed only when all have, and without an error."""
    failure = ""
    for item in reversed(pod.status.containerStatuses):
        if item.state.waiting.reason:
            status = item.state.waiting.reason
        elif item.state.HasField("terminated"):
            status = _ended(item.state.terminated)
            failure = status if item.state.terminated.exitCode else failure
    if status != "Completed":
        return status
    running = any(map(_is_running, pod.status.containerStatuses))
    if running and _is_true(pod, "Ready"):
        return "Running"
    return failure or ("NotReady" if running else status)


def _ended(terminated: Any) -> str:
    if terminated.reason:
        return str(terminated.reason)
    return f"Signal:{terminated.signal}" if terminated.signal else f"ExitCode:{terminated.exitCode}"


def _is_running(item: Any) -> bool:
    """Ready and running; a status that says both running and ended is of one that has ended."""
    return bool(item.ready and item.state.HasField("running"))


def _is_true(pod: Any, type_: str) -> bool:
    return any(item.type == type_ and item.status == "True" for item in pod.status.conditions)
