"""Jobs and CronJobs as kubectl describes them: lines whose cells end with tabs (`tabbed`).

Source: describeJob and describeCronJob of kubectl's pkg/describe.
"""

from __future__ import annotations

from typing import Any

from cli.describing import templates
from cli.describing.lines import when
from cli.describing.templates import NONE, pairs
from pinnace import humantime, labelselectors
from pinnace.kinds import Kind

UNSET = "<unset>"
# Characters of a list of indexes, which then ends at the next comma.
MAX_INDEXES = 50


def job(client: Any, kind: Kind, item: Any) -> list[str]:
    meta, spec, status = item.metadata, item.spec, item.status
    lines = [
        f"Name:\t{meta.name}", f"Namespace:\t{meta.namespace}", f"Selector:\t{labelselectors.text(spec.selector)}",
        *_labels(meta), *(f"Controlled By:\t{ref.kind}/{ref.name}" for ref in meta.ownerReferences if ref.controller),
        *_given(spec, "Parallelism", "parallelism"), f"Completions:\t{_or_unset(spec, 'completions')}",
        *_given(spec, "Completion Mode", "completionMode"),
        *_given(spec, "Suspend", "suspend"), *_given(spec, "Backoff Limit", "backoffLimit"),
        *_given(spec, "TTL Seconds After Finished", "ttlSecondsAfterFinished"), *_times(status),
        *(f"{line}s" for line in _given(spec, "Active Deadline Seconds", "activeDeadlineSeconds")),
        f"Pods Statuses:\t{_pods(status)}",
    ]  # fmt: skip
    if spec.completionMode == "Indexed":
        lines.append(f"Completed Indexes:\t{indexes(status.completedIndexes)}")
    return [*lines, *templates.lines(spec.template)]


def cron_job(client: Any, kind: Kind, item: Any) -> list[str]:
    meta, spec, status = item.metadata, item.spec, item.status
    deadline = _or_unset(spec, "startingDeadlineSeconds")
    last = when(status.lastScheduleTime) if status.lastScheduleTime.seconds else UNSET
    return [
        f"Name:\t{meta.name}", f"Namespace:\t{meta.namespace}", *_labels(meta), f"Schedule:\t{spec.schedule}",
        f"Concurrency Policy:\t{spec.concurrencyPolicy}",
        f"Suspend:\t{spec.suspend if spec.HasField('suspend') else UNSET}", f"Time Zone:\t{_or_unset(spec, 'timeZone')}",
        f"Successful Job History Limit:\t{_or_unset(spec, 'successfulJobsHistoryLimit')}",
        f"Failed Job History Limit:\t{_or_unset(spec, 'failedJobsHistoryLimit')}",
        f"Starting Deadline Seconds:\t{deadline}{'' if deadline == UNSET else 's'}",
        *_template(spec.jobTemplate.spec), f"Last Schedule Time:\t{last}",
        f"Active Jobs:\t{', '.join(each.name for each in status.active) or NONE}",
    ]  # fmt: skip


def _template(spec: Any) -> list[str]:
    return [
        f"Selector:\t{labelselectors.text(spec.selector) if spec.HasField('selector') else UNSET}",
        f"Parallelism:\t{_or_unset(spec, 'parallelism')}", f"Completions:\t{_or_unset(spec, 'completions')}",
        *(f"{line}s" for line in _given(spec, "Active Deadline Seconds", "activeDeadlineSeconds")),
        *templates.lines(spec.template),
    ]  # fmt: skip


def _labels(meta: Any) -> list[str]:
    return [*pairs("Labels", meta.labels), *templates.annotation_lines("Annotations", meta.annotations)]


def _given(spec: Any, title: str, field: str) -> list[str]:
    """A line, unless the field is absent. Go's booleans are in lower case."""
    if not spec.HasField(field):
        return []
    value = getattr(spec, field)
    return [f"{title}:\t{str(value).lower() if isinstance(value, bool) else value}"]


def _or_unset(spec: Any, field: str) -> str:
    return str(getattr(spec, field)) if spec.HasField(field) else UNSET


def _times(status: Any) -> list[str]:
    started, ended = status.startTime.seconds, status.completionTime.seconds
    lines = [f"Start Time:\t{when(status.startTime)}"] if started else []
    lines += [f"Completed At:\t{when(status.completionTime)}"] if ended else []
    return [*lines, f"Duration:\t{humantime.duration(ended - started)}"] if started and ended else lines


def _pods(status: Any) -> str:
    ready = f" ({status.ready} Ready)" if status.HasField("ready") else ""
    return f"{status.active} Active{ready} / {status.succeeded} Succeeded / {status.failed} Failed"


def indexes(text: str) -> str:
    """A list of indexes, cut after so many characters at a comma."""
    comma = text.find(",", MAX_INDEXES)
    return f"{text[: comma + 1]}..." if comma >= 0 else text or NONE
