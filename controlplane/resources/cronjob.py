"""CronJobs. The controller is `controlplane.controllers.cronjob`. Source: registry/batch/cronjob and its printer."""

from __future__ import annotations

from controlplane.resources.columns import AGE, NAME, NONE, Cell, Column, Columns, age
from controlplane.resources.resource import Resource, Strategy
from controlplane.resources.workloads import TEMPLATE_COLUMNS, template_cells
from pinnace import humantime, kinds
from pinnace.admission import cronjobs, podtemplates
from pinnace.batch.v1.cronjob_pb2 import CronJob


class _Strategy(Strategy[CronJob]):
    def warnings(self, new: CronJob, old: CronJob | None) -> list[str]:
        path, template = "spec.jobTemplate.spec.template", new.spec.jobTemplate.spec.template
        changed = old is None or old.spec.jobTemplate.spec.template != template
        return podtemplates.warnings(template, path) if changed else []


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
