"""CronJobs. The controller is `controlplane.controllers.cronjob`. Source: registry/batch/cronjob and its printer."""

from __future__ import annotations

from controlplane.resources.columns import AGE, NAME, NONE, Cell, Column, Columns, age
from controlplane.resources.job import spec_warnings
from controlplane.resources.resource import Resource, Strategy
from controlplane.resources.workloads import TEMPLATE_COLUMNS, name_warnings, template_cells
from pinnace import humantime, kinds
from pinnace.admission import cronjobs
from pinnace.batch.v1.cronjob_pb2 import CronJob


class _Strategy(Strategy[CronJob]):
    def warnings(self, new: CronJob, old: CronJob | None) -> list[str]:
        before = old.spec.jobTemplate.spec if old is not None else None
        found = name_warnings(new) if old is None else []
        return [*found, *spec_warnings(new.spec.jobTemplate.spec, before, "spec.jobTemplate.spec")]


def _cells(item: CronJob, now: float) -> tuple[Cell, ...]:
    spec, status = item.spec, item.status
    last = humantime.since(status.lastScheduleTime.seconds, now) if status.HasField("lastScheduleTime") else NONE
    cells = spec.schedule, spec.timeZone or NONE, str(spec.suspend), len(status.active), last
    return item.metadata.name, *cells, age(item, now), *template_cells(spec.jobTemplate.spec)


_COLUMNS = (
    NAME,
    Column("Schedule", description="When Jobs are created."),
    Column("Timezone", description="Time zone of the schedule."),
    Column("Suspend", description="Whether no Jobs are created."),
    Column("Active", "integer", description="Number of Jobs that run."),
    Column("Last Schedule", description="Time since the latest Job was due."),
    AGE,
    *TEMPLATE_COLUMNS,
)
CRON_JOB = Resource(
    kinds.CRON_JOB,
    rules=cronjobs.RULES,
    strategy=_Strategy(),
    categories=("all",),
    columns=Columns(_COLUMNS, _cells),
)
