"""The status of a Job: counts that never fall, and a terminal condition that stays and fits to the rest.

Source: batch/validation (validateJobStatus, ValidateJobStatusUpdate).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import codec, fielderrors, jobindexes
from pinnace.admission import workloads
from pinnace.batch.v1.job_pb2 import Job
from pinnace.errors import Cause

COMPLETE, FAILED, SUSPENDED = "Complete", "Failed", "Suspended"
# What begins the end of a Job: its pods are deleted, and one of the terminal conditions follows.
SUCCESS_CRITERIA_MET, FAILURE_TARGET = "SuccessCriteriaMet", "FailureTarget"
_COUNTS = ("active", "succeeded", "failed", "ready", "terminating")
# Pairs of conditions that exclude each other, and (first, second): the first needs the second.
_EXCLUSIVE = (
    (COMPLETE, FAILED, "true"), (COMPLETE, FAILURE_TARGET, "true"), (SUCCESS_CRITERIA_MET, FAILED, "true"),
    (SUCCESS_CRITERIA_MET, FAILURE_TARGET, "true"),
)  # fmt: skip
_NEEDED = ((FAILED, FAILURE_TARGET), (COMPLETE, SUCCESS_CRITERIA_MET))


def is_true(item: Job, type_: str) -> bool:
    """Whether the Job has a condition."""
    return any(condition.type == type_ and condition.status == "True" for condition in item.status.conditions)


def is_finished(item: Job) -> bool:
    """Whether the Job is complete or has failed."""
    return is_true(item, COMPLETE) or is_true(item, FAILED)


def validate(new: Job, old: Job) -> list[Cause]:
    return [
        *workloads.negative_counts(new.status, _COUNTS), *_conditions(new), *_times(new), *_finished(new), *_indexes(new),
        *_changes(new, old),
    ]  # fmt: skip


def _conditions(item: Job) -> Iterator[Cause]:
    path = "status.conditions"
    for first, second, value in _EXCLUSIVE:
        if is_true(item, first) and is_true(item, second):
            yield Cause(path, f"Invalid value: cannot set {first}=True and {second}={value} conditions")
    for first, second in _NEEDED:
        if is_true(item, first) and not is_true(item, second):
            yield Cause(path, f"Invalid value: cannot set {first}=True condition without the {second}=true condition")


def _times(item: Job) -> Iterator[Cause]:
    status, path = item.status, "status.completionTime"
    done = status.HasField("completionTime")
    if done and not is_true(item, COMPLETE):
        yield Cause(path, "Invalid value: cannot set completionTime when there is no Complete=True condition")
    if not done and is_true(item, COMPLETE):
        yield fielderrors.required(path, "completionTime is required for Complete jobs")
    if done and status.HasField("startTime") and status.completionTime.seconds < status.startTime.seconds:
        yield Cause(path, "Invalid value: completionTime cannot be set before startTime")


def _finished(item: Job) -> Iterator[Cause]:
    status = item.status
    if status.ready > max(status.active, 0):
        yield fielderrors.invalid("status.ready", status.ready, "cannot set more ready pods than active")
    if not is_finished(item):
        return
    for name in ("active", "terminating"):
        if getattr(status, name) > 0:
            yield fielderrors.invalid(f"status.{name}", getattr(status, name), f"{name}>0 is invalid for finished job")
    if not status.HasField("startTime"):
        yield fielderrors.required("status.startTime", "startTime is required for finished job")
    uncounted = status.uncountedTerminatedPods
    if uncounted.succeeded or uncounted.failed:
        text = "uncountedTerminatedPods needs to be empty for finished job"
        yield fielderrors.invalid("status.uncountedTerminatedPods", {}, text)


def _indexes(item: Job) -> Iterator[Cause]:
    status, spec = item.status, item.spec
    if spec.completionMode != "Indexed" and status.completedIndexes:
        text = "cannot set non-empty completedIndexes when non-indexed completion mode"
        yield fielderrors.invalid("status.completedIndexes", status.completedIndexes, text)
    if status.HasField("failedIndexes") and not spec.HasField("backoffLimitPerIndex"):
        text = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        yield fielderrors.invalid("status.failedIndexes", status.failedIndexes, text)
    if not spec.HasField("completions"):
        return
    read = []
    for name in ("completedIndexes", "failedIndexes"):
        try:
            read.append(jobindexes.read(getattr(status, name), spec.completions))
        except ValueError as error:
            yield fielderrors.invalid(f"status.{name}", getattr(status, name), f"error parsing {name}: {error}")
    if len(read) == 2 and read[0].common(read[1]):
        text = "failedIndexes and completedIndexes overlap"
        yield fielderrors.invalid("status.failedIndexes", status.failedIndexes, text)


def _changes(new: Job, old: Job) -> Iterator[Cause]:
    for type_ in (FAILED, COMPLETE, FAILURE_TARGET):
        if is_true(old, type_) and not is_true(new, type_):
            yield Cause("status.conditions", f"Invalid value: cannot disable the terminal {type_}=True condition")
    if is_true(old, SUCCESS_CRITERIA_MET) and not is_true(new, SUCCESS_CRITERIA_MET):
        yield Cause("status.conditions", "Invalid value: cannot disable the SuccessCriteriaMet=True condition")
    if new.status.failed < old.status.failed:
        yield fielderrors.invalid("status.failed", new.status.failed, "cannot decrease the failed counter")
    # Fewer completions of an Indexed Job are fewer successes.
    if new.status.succeeded < old.status.succeeded and new.spec.completionMode != "Indexed":
        yield fielderrors.invalid("status.succeeded", new.status.succeeded, "cannot decrease the succeeded counter")
    yield from _changed_times(new.status, old.status, may_restart=new.spec.suspend or _is_resumed(new, old))


def _is_resumed(new: Job, old: Job) -> bool:
    known = any(condition.type == SUSPENDED and condition.status == "False" for condition in new.status.conditions)
    return known and is_true(old, SUSPENDED)


def _changed_times(new: Any, old: Any, *, may_restart: bool) -> Iterator[Cause]:
    if new.HasField("completionTime") and old.HasField("completionTime") and new.completionTime != old.completionTime:
        yield Cause("status.completionTime", "Invalid value: completionTime cannot be mutated")
    if not old.HasField("startTime") or may_restart or (new.HasField("startTime") and new.startTime == old.startTime):
        return
    shown = codec.format_time(new.startTime.seconds) if new.HasField("startTime") else None
    yield fielderrors.invalid("status.startTime", shown, "field is immutable for unsuspended job once set")
