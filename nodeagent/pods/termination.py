"""Whether a pod is on its way out, why, and in which order its containers stop. Pure.

Source: the pod termination and sidecar pages of Kubernetes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nodeagent.pods.model import Attempt, ObservedState
from nodeagent.pods.restarts import outcome
from pinnace.podspec import is_sidecar

# Seconds that a container has when its turn to stop comes after the pod's time is over (kubelet's minimum).
MINIMUM_GRACE = 2.0


@dataclass(frozen=True, slots=True)
class PodTermination:
    """Why no container may be started any more. `deadline`: when the pod's time is over."""

    deadline: float
    remove: bool
    reason: str = ""
    message: str = ""
    # False: everything is killed at once.
    graceful: bool = True


def ending(pod: Any, *, gone: bool, observed: ObservedState, now: float) -> PodTermination | None:
    """Whether the pod is on its way out: deleted, no longer assigned, evicted, or past its activeDeadlineSeconds."""
    meta = pod.metadata
    if gone:
        # No longer assigned means deleted by force: without a grace period.
        return PodTermination(now, remove=True, graceful=False)
    if meta.deletionTimestamp.seconds:
        deadline = float(meta.deletionTimestamp.seconds) if observed.leaves_at is None else observed.leaves_at
        # The node's decision shortens it: it may be short of what the pod holds.
        evicted = deadline if observed.eviction is None else observed.eviction.deadline
        graceful = bool(meta.deletionGracePeriodSeconds) and evicted > 0
        return PodTermination(min(deadline, evicted), remove=True, graceful=graceful)
    if observed.eviction is not None:
        found = observed.eviction
        return PodTermination(found.deadline, False, found.reason, found.message, graceful=found.deadline > 0)
    over = due(pod, observed)
    if over is not None and now >= over and not _over_before(pod, observed, over):
        text = "Pod was active on the node longer than the specified deadline"
        return PodTermination(over + pod.spec.terminationGracePeriodSeconds, False, "DeadlineExceeded", text)
    return None


def due(pod: Any, observed: ObservedState) -> float | None:
    """When the pod's activeDeadlineSeconds are over."""
    return observed.started_at + pod.spec.activeDeadlineSeconds if pod.spec.HasField("activeDeadlineSeconds") else None


def _over_before(pod: Any, observed: ObservedState, over: float) -> bool:
    """Whether the pod had ended by itself by then: a pod that has succeeded does not fail later."""
    ends = [observed.last(container.name) for container in pod.spec.containers]
    return outcome(pod, observed) is not None and all(
        end is None or (end.finished_at is not None and end.finished_at < over) for end in ends
    )


def next_wave(pod: Any, observed: ObservedState) -> list[Attempt]:
    """The running containers that stop now: all but sidecars at once, then the sidecars, the last one first."""
    running = {attempt.name: attempt for attempt in observed.running()}
    sidecars = [container.name for container in pod.spec.initContainers if is_sidecar(container)]
    others = [attempt for name, attempt in running.items() if name not in sidecars]
    if others:
        return others
    return [running[name] for name in reversed(sidecars) if name in running][:1]
