"""The pods of a Job: how each one ended, what that means, and when and how the next one is made. Pure.

Source: kube-controller-manager's job controller (backoff_utils.go, indexed_job_utils.go, pod_failure_policy.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.controllers import podcontrol
from controlplane.controllers.podcontrol import Workload
from pinnace.admission.jobpolicies import COUNT, FAIL_INDEX, FAIL_JOB, IGNORE, IN
from pinnace.admission.jobs import FAILED, INDEXED
from pinnace.batch.v1.job_pb2 import Job
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.wellknown import JOB_COMPLETION_INDEX

# A pod has it until it is counted, so that it cannot vanish before.
TRACKING = "batch.kubernetes.io/job-tracking"
# Of a pod of an index: failed pods before it, and those of them that a policy ignores.
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"
ENV = "JOB_COMPLETION_INDEX"
# Seconds between a failed pod and the next one: doubled with each failure since the last success, up to a limit.
BACKOFF, LONGEST_BACKOFF = 10.0, 600.0
# Characters of a generated name before its suffix.
MAX_PREFIX = 58


def is_tracked(pod: Pod) -> bool:
    """Whether the pod is not counted yet."""
    return TRACKING in pod.metadata.finalizers


def is_failed(pod: Pod, job: Job) -> bool:
    """A deleted pod has failed at once, unless the Job waits until it has ended."""
    if pod.status.phase == "Failed":
        return True
    deleted = bool(pod.metadata.deletionTimestamp.seconds) and pod.status.phase != "Succeeded"
    return deleted and job.spec.podReplacementPolicy != FAILED


def index_of(pod: Pod, job: Job) -> int | None:
    """The completion index; None for a pod without one of the Job."""
    text = pod.metadata.annotations.get(JOB_COMPLETION_INDEX, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 10) or int(text) >= job.spec.completions:
        return None
    return int(text)


def is_valid(pod: Pod, job: Job) -> bool:
    """Whether the end of the pod counts: pods of an Indexed Job have an index."""
    return job.spec.completionMode != INDEXED or index_of(pod, job) is not None


def ended_at(pod: Pod) -> int:
    """When the pod ended, in seconds since the epoch."""
    statuses = (*pod.status.containerStatuses, *pod.status.initContainerStatuses)
    ends = [status.state.terminated.finishedAt.seconds for status in statuses if status.state.HasField("terminated")]
    if any(ends):
        return int(max(ends))
    changed = [item.lastTransitionTime.seconds for item in pod.status.conditions if item.type == "Ready"]
    return int(max([*changed, pod.metadata.creationTimestamp.seconds]))


def backoff(pods: Iterable[Pod], now: float) -> float:
    """Seconds until the next pod may be created, by the failures since the last success."""
    ends = [(ended_at(pod), pod.status.phase) for pod in pods if pod.status.phase in podcontrol.ENDED]
    success = max((end for end, phase in ends if phase == "Succeeded"), default=-1)
    failures = [end for end, phase in ends if phase == "Failed" and end > success]
    return _remaining(len(failures), max(failures), now) if failures else 0.0


def _remaining(failures: int, last: int, now: float) -> float:
    # The exponent is bounded: the limit is reached long before.
    delay = min(BACKOFF * 2.0 ** min(failures - 1, 30), LONGEST_BACKOFF)
    return max(last + delay - now, 0.0)


def index_backoff(replaced: Pod, now: float) -> float:
    """As `backoff`, for the next pod of one index, by the failed pod that it replaces."""
    return _remaining(absolute_failures(replaced) + 1, ended_at(replaced), now)


def _number(pod: Pod, name: str) -> int:
    text = pod.metadata.annotations.get(name, "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else 0


def absolute_failures(pod: Pod) -> int:
    """Failed pods of the index before this one."""
    return _number(pod, FAILURES) + _number(pod, IGNORED_FAILURES)


def is_index_failed(pod: Pod, job: Job) -> bool:
    """Whether a failed pod is the last that its index may have."""
    verdict = judge(pod, job)
    if verdict.action == FAIL_INDEX:
        return True
    return verdict.counts and _number(pod, FAILURES) >= job.spec.backoffLimitPerIndex


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a failed pod means. `message`: why the Job fails; empty if it does not. `counts`: towards the limits of failures."""

    action: str = ""
    message: str = ""

    @property
    def counts(self) -> bool:
        return self.action != IGNORE


def judge(pod: Pod, job: Job) -> Verdict:
    """By the first rule of podFailurePolicy that matches a failed pod."""
    for index, rule in enumerate(job.spec.podFailurePolicy.rules):
        if rule.action not in (COUNT, FAIL_INDEX, FAIL_JOB, IGNORE):
            continue
        match = _by_exit_code(pod, rule.onExitCodes) if rule.HasField("onExitCodes") else _by_condition(pod, rule)
        if match:
            text = f"{match} matching {rule.action} rule at index {index}" if rule.action == FAIL_JOB else ""
            return Verdict(rule.action, text)
    return Verdict()


def _by_exit_code(pod: Pod, wanted: Any) -> str:
    for status in (*pod.status.containerStatuses, *pod.status.initContainerStatuses):
        if wanted.HasField("containerName") and wanted.containerName != status.name:
            continue
        code = status.state.terminated.exitCode
        if code and (code in wanted.values) == (wanted.operator == IN):
            return f"Container {status.name} for pod {pod.metadata.namespace}/{pod.metadata.name} failed with exit code {code}"
    return ""


def _by_condition(pod: Pod, rule: Any) -> str:
    for pattern in rule.onPodConditions:
        if any((item.type, item.status) == (pattern.type, pattern.status) for item in pod.status.conditions):
            return f"Pod {pod.metadata.namespace}/{pod.metadata.name} has condition {pattern.type}"
    return ""


def restarts(pods: Iterable[Pod]) -> int:
    """Restarts of containers in pods that have not ended."""
    running = [pod for pod in pods if pod.status.phase not in podcontrol.ENDED]
    return sum(
        status.restartCount for pod in running for status in (*pod.status.initContainerStatuses, *pod.status.containerStatuses)
    )


def removal_order(pods: Iterable[Pod]) -> list[Pod]:
    """Active pods of a Job, those to delete first in front: as for a ReplicaSet (`podcontrol.deletion_order`), but by exact
    times, and neither by the cost of deletion nor by pods of the same node."""
    return sorted(pods, key=_removal_rank)


def _removal_rank(pod: Pod) -> tuple[Any, ...]:
    since = podcontrol.ready_since(pod)
    return (
        *podcontrol.progress_rank(pod), -(since or 0), *podcontrol.restart_rank(pod), -pod.metadata.creationTimestamp.seconds,
        pod.metadata.uid,
    )  # fmt: skip


def duplicates(active: list[Pod], job: Job) -> list[Pod]:
    """Active pods, those to delete first in front, that have no index of the Job, or that of a later one in the list."""
    kept: dict[int, Pod] = {}
    surplus = []
    for pod in active:
        index = index_of(pod, job)
        if index is None:
            surplus.append(pod)
        elif index in kept:
            surplus.append(kept[index])
            kept[index] = pod
        else:
            kept[index] = pod
    return surplus


def delayed(failed: Iterable[Pod], job: Job, settled: Mapping[int, bool]) -> dict[int, Pod]:
    """By index the failed pod that the next one replaces, which is kept until then: it has the number of failures.
    `settled`: indexes that get no further pod, or have it already."""
    found: dict[int, Pod] = {}
    for pod in failed:
        index = index_of(pod, job)
        if index is None or settled.get(index):
            continue
        if index not in found or _follows(pod, found[index]):
            found[index] = pod
    return found


def _follows(pod: Pod, other: Pod) -> bool:
    """Whether a failed pod of an index has at least as many failures before it, and ended no earlier."""
    return absolute_failures(other) <= absolute_failures(pod) and ended_at(other) <= ended_at(pod)


def make(owner: Workload, index: int | None, replaced: Pod | None) -> Pod:
    """The next pod, for an index if one is given, after the failed pod that it replaces."""
    job: Job = owner.message
    pod = podcontrol.make(job.spec.template, owner)
    if TRACKING not in pod.metadata.finalizers:
        pod.metadata.finalizers.append(TRACKING)
    pod.metadata.generateName = f"{job.metadata.name}-"
    if index is not None:
        _give_index(pod, job.metadata.name, index)
        if job.spec.HasField("backoffLimitPerIndex"):
            _give_failures(pod, job, replaced)
    return pod


def _give_index(pod: Pod, name: str, index: int) -> None:
    end = f"-{index}-"
    pod.metadata.generateName = name[: MAX_PREFIX - len(end)] + end
    pod.metadata.annotations[JOB_COMPLETION_INDEX] = pod.metadata.labels[JOB_COMPLETION_INDEX] = str(index)
    pod.spec.hostname = f"{name}-{index}"
    for container in (*pod.spec.initContainers, *pod.spec.containers):
        if all(item.name != ENV for item in container.env):
            item = container.env.add(name=ENV)
            item.valueFrom.fieldRef.fieldPath = f"metadata.labels['{JOB_COMPLETION_INDEX}']"


def _give_failures(pod: Pod, job: Job, replaced: Pod | None) -> None:
    counted = ignored = 0
    if replaced is not None:
        counts = judge(replaced, job).counts
        counted, ignored = _number(replaced, FAILURES) + counts, _number(replaced, IGNORED_FAILURES) + (not counts)
    pod.metadata.annotations[FAILURES] = str(counted)
    if ignored:
        pod.metadata.annotations[IGNORED_FAILURES] = str(ignored)
