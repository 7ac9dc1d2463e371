"""What ends a Job: limits, deadlines and policies, by its pods so far. Pure.

Source: kube-controller-manager's job_controller.go (syncJob) and success_policy.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controlplane import conditions
from controlplane.controllers import jobpods
from pinnace import jobindexes
from pinnace.admission.jobs import INDEXED
from pinnace.admission.jobstatuses import FAILURE_TARGET, SUCCESS_CRITERIA_MET
from pinnace.batch.v1.job_pb2 import Job
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.jobindexes import Indexes


@dataclass(frozen=True, slots=True)
class End:
    """Why a Job ends: the condition that its pods are deleted for, from which the terminal one takes reason and message."""

    type: str
    reason: str
    message: str

    @property
    def is_success(self) -> bool:
        return self.type == SUCCESS_CRITERIA_MET


COMPLETIONS_REACHED = End(SUCCESS_CRITERIA_MET, "CompletionsReached", "Reached expected number of succeeded pods")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a Job is: pods that succeeded and failed, also those that are not counted yet; its indexes."""

    succeeded: int
    failed: int
    done: Indexes
    broken: Indexes


def decided(job: Job) -> End | None:
    """The end that was decided earlier."""
    for type_ in (SUCCESS_CRITERIA_MET, FAILURE_TARGET):
        found = conditions.find(job.status, type_)
        if found is not None and found.status == "True":
            return End(type_, found.reason, found.message)
    return None


def find(job: Job, pods: list[Pod], progress: Progress, now: float) -> End | None:
    """The end of a Job, except that all its completions are reached."""
    return decided(job) or _policy(job, pods) or _limits(job, pods, progress, now) or _indexes(job, progress)


def _failure(reason: str, message: str) -> End:
    return End(FAILURE_TARGET, reason, message)


def _policy(job: Job, pods: list[Pod]) -> End | None:
    if not job.spec.HasField("podFailurePolicy"):
        return None
    for pod in pods:
        message = jobpods.judge(pod, job).message if jobpods.is_failed(pod, job) else ""
        if message:
            return _failure("PodFailurePolicy", message)
    return None


def _limits(job: Job, pods: list[Pod], progress: Progress, now: float) -> End | None:
    if progress.failed > job.spec.backoffLimit or _restarted_too_often(job, pods):
        return _failure("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    left = until_deadline(job, now)
    if left is not None and left <= 0:
        return _failure("DeadlineExceeded", "Job was active longer than specified deadline")
    return None


def _restarted_too_often(job: Job, pods: list[Pod]) -> bool:
    """Pods that restart their containers by themselves do not fail; their restarts count instead."""
    return job.spec.template.spec.restartPolicy == "OnFailure" and jobpods.restarts(pods) >= max(job.spec.backoffLimit, 1)


def until_deadline(job: Job, now: float) -> float | None:
    """Seconds until activeDeadlineSeconds have passed; None without a deadline, and while suspended."""
    if not job.spec.HasField("activeDeadlineSeconds") or not job.status.HasField("startTime") or job.spec.suspend:
        return None
    return job.status.startTime.seconds + job.spec.activeDeadlineSeconds - now


def _indexes(job: Job, progress: Progress) -> End | None:
    spec = job.spec
    if spec.completionMode != INDEXED:
        return None
    broken = len(progress.broken)
    if spec.HasField("maxFailedIndexes") and broken > spec.maxFailedIndexes:
        return _failure("MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes")
    if broken and broken + len(progress.done) >= spec.completions:
        return _failure("FailedIndexes", "Job has failed indexes")
    for number, rule in enumerate(spec.successPolicy.rules):
        if _suffices(rule, spec.completions, progress.done):
            return End(SUCCESS_CRITERIA_MET, "SuccessPolicy", f"Matched rules at index {number}")
    return None


def _suffices(rule: Any, completions: int, done: Indexes) -> bool:
    if not rule.HasField("succeededIndexes"):
        return len(done) >= int(rule.succeededCount)
    wanted = jobindexes.lenient(rule.succeededIndexes, completions)
    needed = int(rule.succeededCount) if rule.HasField("succeededCount") else len(wanted)
    return wanted.common(done) >= needed
