"""Creates Jobs by a schedule and removes old ones. Root kind: CronJob.

A Job, its entry in status.active and the time of the schedule are written in one transaction, and the name of the Job follows
from that time, so no time comes due twice. Source: kube-controller-manager's cronjob_controllerv2.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo

from controlplane.controllers import crontimes, podcontrol
from controlplane.controllers.podcontrol import PodControl, Workload
from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.resources.indexes import OWNER
from controlplane.store import Event, Tx
from pinnace import codec, cronexpressions, kinds
from pinnace.admission.cronjobs import FORBID, REPLACE, zone
from pinnace.admission.jobstatuses import COMPLETE, FAILED, is_finished, is_true
from pinnace.batch.v1.cronjob_pb2 import CronJob
from pinnace.batch.v1.job_pb2 import Job
from pinnace.clock import Ids, RandomIds
from pinnace.cronexpressions import Schedule
from pinnace.errors import AlreadyExists, ApiError
from pinnace.kinds import Kind

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
# Seconds after which a Job that was rejected is tried again.
RETRY = 10.0
# Seconds between a time of the schedule and its Job, for clocks that are adjusted.
DELAY = 0.1


class CronJobs:
    name = "cronjob"
    watches: tuple[Kind, ...] = (kinds.CRON_JOB, kinds.JOB)

    def __init__(self, ids: Ids | None = None) -> None:
        self._control = PodControl("cronjob-controller", ids or RandomIds())

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        if event.row.kind is kinds.CRON_JOB:
            yield "/".join(event.row.key.rsplit("/", 2)[1:])
            return
        for row in (event.old, event.new):
            key = podcontrol.owner_key(row.message, kinds.CRON_JOB) if row is not None else None
            if key is not None:
                yield key

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace, _, name = key.partition("/")
        item = tx.get(kinds.CRON_JOB, namespace, name)
        return Reconciliation(tx, item, self._control, now.wall).step() if item is not None else None


class Reconciliation:
    """One reconciliation of one CronJob."""

    def __init__(self, tx: Tx, item: CronJob, control: PodControl, now: float) -> None:
        self._tx = tx
        self._item = item
        self._control = control
        self._now = now
        self._owner = Workload(kinds.CRON_JOB, item)
        rows = tx.by_index(kinds.JOB, OWNER, item.metadata.uid)
        found: list[Job] = [row.message for row in rows if podcontrol.is_controlled_by(row.message, item.metadata.uid)]
        # A Job that is suspended has no start, and comes last.
        self._jobs = sorted(
            found, key=lambda job: (not job.status.HasField("startTime"), job.status.startTime.seconds, job.metadata.name)
        )

    def step(self) -> Requeue | None:
        self._note_ends()
        self._note_missing()
        self._note_success()
        self._clean_up()
        again = None if self._owner.deleting else self._schedule()
        verbs.update_status(self._tx, kinds.CRON_JOB, self._item, self._control.call(self._now))
        return again

    def _event(self, reason: str, message: str, *, warning: bool = False) -> None:
        self._control.event(self._tx, self._owner, reason, message, self._now, warning=warning)

    # Jobs so far

    def _note_ends(self) -> None:
        active = {reference.uid for reference in self._item.status.active}
        for job in self._jobs:
            name, listed = job.metadata.name, job.metadata.uid in active
            if listed and is_finished(job):
                self._forget(job.metadata.uid)
                self._event("SawCompletedJob", f"Saw completed job: {name}, condition: {_end(job)}")
            elif not listed and not is_finished(job):
                text = f"Saw a job that the controller did not create or forgot: {name}"
                self._event("UnexpectedJob", text, warning=True)

    def _note_missing(self) -> None:
        present = {job.metadata.uid for job in self._jobs}
        for reference in list(self._item.status.active):
            if reference.uid not in present:
                self._forget(reference.uid)
                self._event("MissingJob", f"Active job went missing: {reference.name}")

    def _forget(self, uid: str) -> None:
        kept = [reference for reference in self._item.status.active if reference.uid != uid]
        del self._item.status.active[:]
        self._item.status.active.extend(kept)

    def _note_success(self) -> None:
        times = [job.status.completionTime for job in self._jobs if is_true(job, COMPLETE)]
        latest = max(times, key=lambda time: time.seconds, default=None)
        if latest is not None and latest.seconds > self._item.status.lastSuccessfulTime.seconds:
            self._item.status.lastSuccessfulTime.CopyFrom(latest)

    def _clean_up(self) -> None:
        spec = self._item.spec
        for type_, kept in ((COMPLETE, spec.successfulJobsHistoryLimit), (FAILED, spec.failedJobsHistoryLimit)):
            ended = [job for job in self._jobs if is_true(job, type_) and not job.metadata.deletionTimestamp.seconds]
            for job in ended[: max(len(ended) - kept, 0)]:
                self._delete(job.metadata.name, job.metadata.uid)

    def _delete(self, name: str, uid: str) -> None:
        call, namespace = self._control.call(self._now), self._item.metadata.namespace
        verbs.delete(self._tx, kinds.JOB, namespace, name, call, uid=uid, propagation="Background")
        self._forget(uid)
        self._event("SuccessfulDelete", f"Deleted job {name}")

    # The next Job

    def _schedule(self) -> Requeue | None:
        spec = self._item.spec
        place = zone(spec.timeZone) if spec.timeZone else UTC
        if place is None:
            text = f'invalid timeZone: "{spec.timeZone}": unknown time zone {spec.timeZone}'
            self._event("UnknownTimeZone", text, warning=True)
            return None
        if spec.suspend or podcontrol.namespace_ends(self._tx, self._item.metadata.namespace):
            return None
        try:
            schedule = cronexpressions.parse(spec.schedule)
        except ValueError as error:
            self._event("UnparseableSchedule", f'unparseable schedule: "{spec.schedule}" : {error}', warning=True)
            return None
        if crontimes.after(schedule, self._since(), self._now, place) is None:
            text = f"invalid schedule: {spec.schedule} : time difference between two schedules is less than 1 second"
            self._event("InvalidSchedule", text, warning=True)
            return None
        due = self._due(schedule, place)
        if due is not None and not self._start(due, place):
            return Requeue(RETRY)
        following = crontimes.after(schedule, self._since(), self._now, place)
        return Requeue(following + DELAY - self._now) if following is not None else None

    def _since(self) -> int:
        """The time of the last Job, or of the creation."""
        return int(self._item.status.lastScheduleTime.seconds or self._item.metadata.creationTimestamp.seconds)

    def _due(self, schedule: Schedule, place: tzinfo) -> int | None:
        """The latest time without a Job that is not too long ago."""
        since = self._since()
        due = crontimes.latest(schedule, since, self._now, place)
        spec = self._item.spec
        if due is None:
            return None
        if spec.HasField("startingDeadlineSeconds") and due < self._now - spec.startingDeadlineSeconds:
            missed = datetime.fromtimestamp(due, UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
            self._event("MissSchedule", f"Missed scheduled time to start a job: {missed}", warning=True)
            return None
        if spec.HasField("startingDeadlineSeconds"):
            # Times before the deadline are not counted as missed.
            since = max(since, int(self._now) - spec.startingDeadlineSeconds)
        if crontimes.are_many(schedule, since, self._now, place):
            text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            self._event("TooManyMissedTimes", text, warning=True)
        return due

    def _start(self, due: int, place: tzinfo) -> bool:
        """Create the Job of a time, if the others allow it; False: it is to be tried again."""
        active = list(self._item.status.active)
        if active and self._item.spec.concurrencyPolicy == FORBID:
            text = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self._event("JobAlreadyActive", text)
            return True
        if self._item.spec.concurrencyPolicy == REPLACE:
            for reference in active:
                self._delete(reference.name, reference.uid)
        job = self._make(due, place)
        try:
            verbs.create(self._tx, kinds.JOB, job, self._control.call(self._now))
        except AlreadyExists:
            # Of someone else: this time has its Job.
            self._item.status.lastScheduleTime.CopyFrom(codec.time_of(due))
            return True
        except ApiError as error:
            self._event("FailedCreate", f"Error creating job: {error}", warning=True)
            return False
        self._event("SuccessfulCreate", f"Created job {job.metadata.name}")
        self._item.status.active.add(
            apiVersion=kinds.JOB.api_version, kind=kinds.JOB.kind, namespace=job.metadata.namespace, name=job.metadata.name,
            uid=job.metadata.uid,
        )  # fmt: skip
        self._item.status.lastScheduleTime.CopyFrom(codec.time_of(due))
        return True

    def _make(self, due: int, place: tzinfo) -> Job:
        template, job = self._item.spec.jobTemplate, Job()
        job.metadata.namespace, job.metadata.name = self._owner.namespace, f"{self._item.metadata.name}-{due // 60}"
        job.metadata.labels.update(template.metadata.labels)
        job.metadata.annotations.update(template.metadata.annotations)
        job.metadata.annotations[SCHEDULED] = datetime.fromtimestamp(due, place).isoformat().replace("+00:00", "Z")
        job.spec.CopyFrom(template.spec)
        self._owner.own(job)
        return job


def _end(job: Job) -> str:
    return COMPLETE if is_true(job, COMPLETE) else FAILED
