"""The status of a Deployment: counts of its ReplicaSets, and the conditions Available, Progressing and ReplicaFailure. Pure.

Source: kube-controller-manager's deployment/progress.go, sync.go (calculateStatus) and util/deployment_util.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from controlplane import conditions
from controlplane.controllers import rollout
from controlplane.controllers.replicaset import FAILURE
from pinnace import codec
from pinnace.apps.v1.deployment_pb2 import Deployment
from pinnace.apps.v1.replicaset_pb2 import ReplicaSet
from pinnace.messages import clone

AVAILABLE, PROGRESSING = "Available", "Progressing"
COMPLETE, TIMED_OUT = "NewReplicaSetAvailable", "ProgressDeadlineExceeded"
PAUSED, RESUMED = "DeploymentPaused", "DeploymentResumed"
# A deadline of this many seconds is none.
NO_DEADLINE = (1 << 31) - 1


def set_condition(status: Any, type_: str, value: str, reason: str, message: str, now: float) -> None:
    """As long as status and reason hold, the condition stays as it is."""
    found = conditions.find(status, type_)
    if found is not None and (found.status, found.reason) == (value, reason):
        return
    conditions.put(status, type_, value, now=now, reason=reason, message=message)
    changed = conditions.find(status, type_)
    assert changed is not None
    changed.lastUpdateTime.CopyFrom(codec.time_of(now))


def remove_condition(status: Any, type_: str) -> None:
    kept = [condition for condition in status.conditions if condition.type != type_]
    if len(kept) < len(status.conditions):
        del status.conditions[:]
        status.conditions.extend(kept)


def has_deadline(item: Deployment) -> bool:
    return item.spec.HasField("progressDeadlineSeconds") and item.spec.progressDeadlineSeconds != NO_DEADLINE


def progress(item: Deployment, reason: str, message: str, now: float, *, value: str = "True") -> None:
    """Set the condition Progressing, of a Deployment with a deadline."""
    if has_deadline(item):
        set_condition(item.status, PROGRESSING, value, reason, message, now)


def note_pause(item: Deployment, now: float) -> None:
    """A rollout makes no progress, and is not late, while it is paused."""
    found = conditions.find(item.status, PROGRESSING)
    reason = found.reason if found is not None else ""
    if reason == TIMED_OUT:
        return
    if item.spec.paused and reason != PAUSED:
        progress(item, PAUSED, "Deployment is paused", now, value="Unknown")
    elif not item.spec.paused and reason == PAUSED:
        progress(item, RESUMED, "Deployment is resumed", now, value="Unknown")


def count(item: Deployment, sets: Sequence[ReplicaSet], new: ReplicaSet | None, now: float) -> None:
    """Set every count, and the condition Available."""
    status = item.status
    status.observedGeneration = item.metadata.generation
    status.replicas = sum(each.status.replicas for each in sets)
    status.updatedReplicas = new.status.replicas if new else 0
    status.readyReplicas = sum(each.status.readyReplicas for each in sets)
    status.availableReplicas = rollout.available(sets)
    status.unavailableReplicas = max(rollout.wanted(sets) - status.availableReplicas, 0)
    status.terminatingReplicas = sum(each.status.terminatingReplicas for each in sets)
    if status.availableReplicas >= item.spec.replicas - rollout.max_unavailable(item):
        text = "Deployment has minimum availability."
        set_condition(status, AVAILABLE, "True", "MinimumReplicasAvailable", text, now)
    else:
        text = "Deployment does not have minimum availability."
        set_condition(status, AVAILABLE, "False", "MinimumReplicasUnavailable", text, now)


def is_complete(item: Deployment) -> bool:
    """Whether all wanted pods, and no others, are of the present template and available, by a status that was just counted."""
    status = item.status
    return status.updatedReplicas == status.replicas == status.availableReplicas == item.spec.replicas


def judge(item: Deployment, before: Any, sets: Iterable[ReplicaSet], new: ReplicaSet | None, now: float) -> float | None:
    """Set Progressing and ReplicaFailure, after `count`; `before` is the status until now. Returns the seconds until the
    deadline of a rollout that proceeds."""
    _judge_progress(item, before, new, now)
    remove_condition(item.status, FAILURE)
    # The present template's failure counts most.
    ordered = sorted(sets, key=lambda each: new is None or each.metadata.uid != new.metadata.uid)
    failures = (conditions.find(each.status, FAILURE) for each in ordered)
    failure = next((found for found in failures if found is not None), None)
    if failure is not None:
        added = item.status.conditions.add(
            type=FAILURE, status=failure.status, reason=failure.reason, message=failure.message
        )  # fmt: skip
        added.lastTransitionTime.CopyFrom(failure.lastTransitionTime)
        added.lastUpdateTime.CopyFrom(failure.lastTransitionTime)
    return _until_deadline(item, now)


def _judge_progress(item: Deployment, before: Any, new: ReplicaSet | None, now: float) -> None:
    status, found = item.status, conditions.find(item.status, PROGRESSING)
    if not has_deadline(item):
        remove_condition(status, PROGRESSING)
        return
    if status.replicas == status.updatedReplicas and found is not None and found.reason == COMPLETE:
        return
    name = f'ReplicaSet "{new.metadata.name}"' if new is not None else f'Deployment "{item.metadata.name}"'
    if is_complete(item):
        set_condition(status, PROGRESSING, "True", COMPLETE, f"{name} has successfully progressed.", now)
    elif _proceeds(status, before):
        _restart_deadline(status, f"{name} is progressing.", now)
    elif _timed_out(item, now):
        set_condition(status, PROGRESSING, "False", TIMED_OUT, f"{name} has timed out progressing.", now)


def _restart_deadline(status: Any, message: str, now: float) -> None:
    """Progress counts anew, also where status and reason stay."""
    found = conditions.find(status, PROGRESSING)
    kept = clone(found.lastTransitionTime) if found is not None and found.status == "True" else None
    remove_condition(status, PROGRESSING)
    set_condition(status, PROGRESSING, "True", "ReplicaSetUpdated", message, now)
    changed = conditions.find(status, PROGRESSING)
    if kept is not None and changed is not None:
        changed.lastTransitionTime.CopyFrom(kept)


def _proceeds(status: Any, before: Any) -> bool:
    old, old_before = status.replicas - status.updatedReplicas, before.replicas - before.updatedReplicas
    names = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return old < old_before or any(getattr(status, name) > getattr(before, name) for name in names)


def _timed_out(item: Deployment, now: float) -> bool:
    found = conditions.find(item.status, PROGRESSING)
    if found is None or found.reason == COMPLETE:
        return False
    return bool(found.reason == TIMED_OUT or now >= found.lastUpdateTime.seconds + item.spec.progressDeadlineSeconds)


def _until_deadline(item: Deployment, now: float) -> float | None:
    found = conditions.find(item.status, PROGRESSING)
    if found is None or not has_deadline(item) or item.spec.paused or found.reason in (COMPLETE, TIMED_OUT):
        return None
    return float(max(found.lastUpdateTime.seconds + item.spec.progressDeadlineSeconds - now, 0.0)) + 1.0
