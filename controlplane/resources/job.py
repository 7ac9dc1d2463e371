"""Jobs. The controller is `controlplane.controllers.job`. Source: registry/batch/job and the printer of Jobs."""

from __future__ import annotations

from typing import Any

from controlplane.resources.columns import AGE, NAME, Cell, Column, Columns, age
from controlplane.resources.resource import Resource, Strategy
from controlplane.resources.workloads import TEMPLATE_COLUMNS, name_warnings, template_cells
from pinnace import humantime, kinds
from pinnace.admission import jobs, podtemplates
from pinnace.admission.jobstatuses import COMPLETE, FAILED, FAILURE_TARGET, SUCCESS_CRITERIA_MET, SUSPENDED, is_true
from pinnace.batch.v1.job_pb2 import Job

# Of an Indexed Job: above both, a list of failed indexes may become too long to be kept.
MANY_COMPLETIONS, MANY_PODS = 100_000, 10_000
_MANY = (
    "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be "
    "able to track completedIndexes when a big number of indexes fail"
)


class _Strategy(Strategy[Job]):
    def prepare_for_create(self, new: Job) -> None:
        jobs.generate_selector(new)

    def warnings(self, new: Job, old: Job | None) -> list[str]:
        return [*(name_warnings(new) if old is None else ()), *spec_warnings(new.spec, old.spec if old else None, "spec")]


def spec_warnings(new: Any, old: Any | None, path: str) -> list[str]:
    """Of a JobSpec at `path`: of its size, and of its template where that is new or changes."""
    found = []
    if new.completionMode == jobs.INDEXED and new.completions > MANY_COMPLETIONS and new.parallelism > MANY_PODS:
        found.append(f"{path}: {_MANY}")
    changed = old is None or old.template != new.template
    return [*found, *(podtemplates.warnings(new.template, f"{path}.template") if changed else ())]


def _cells(item: Job, now: float) -> tuple[Cell, ...]:
    cells = _state(item), _completions(item), _duration(item, now)
    return item.metadata.name, *cells, age(item, now), *template_cells(item.spec)


def _state(item: Job) -> str:
    if is_true(item, COMPLETE) or is_true(item, FAILED):
        return COMPLETE if is_true(item, COMPLETE) else FAILED
    if item.metadata.deletionTimestamp.seconds:
        return "Terminating"
    found = [type_ for type_ in (SUSPENDED, FAILURE_TARGET, SUCCESS_CRITERIA_MET) if is_true(item, type_)]
    return found[0] if found else "Running"


def _completions(item: Job) -> str:
    if item.spec.HasField("completions"):
        return f"{item.status.succeeded}/{item.spec.completions}"
    of = f" of {item.spec.parallelism}" if item.spec.parallelism > 1 else ""
    return f"{item.status.succeeded}/1{of}"


def _duration(item: Job, now: float) -> str:
    status = item.status
    if not status.HasField("startTime"):
        return ""
    end = float(status.completionTime.seconds) if status.HasField("completionTime") else now
    return humantime.duration(end - status.startTime.seconds)


_COLUMNS = (
    NAME,
    Column("Status", description="Condition that says most of the state."),
    Column("Completions", description="Number of pods that succeeded, and of those that have to."),
    Column("Duration", description="Time from the start to the completion, or until now."),
    AGE,
    *TEMPLATE_COLUMNS,
)
JOB = Resource(
    kinds.JOB,
    rules=jobs.RULES,
    strategy=_Strategy(),
    categories=("all",),
    selectable={"status.successful": lambda item: str(item.status.succeeded)},
    columns=Columns(_COLUMNS, _cells),
)
