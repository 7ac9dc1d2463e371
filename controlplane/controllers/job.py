"""Runs pods until enough of them have succeeded. Root kind: Job.

A pod is counted in the transaction that removes its finalizer, so each one counts exactly once, whenever the control plane
ends. One transaction creates, deletes or counts up to BATCH pods; the next one continues. Pods are judged in `jobpods`, the end
of the Job in `jobends`; `jobtracking` removes finalizers. Source: kube-controller-manager's job_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controlplane import conditions
from controlplane.controllers import jobends, jobpods, jobtracking, podcontrol
from controlplane.controllers.jobends import End, Progress
from controlplane.controllers.podcontrol import BATCH, PodControl, Workload
from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.resources.indexes import OWNER
from controlplane.store import Event, Tx
from pinnace import codec, jobindexes, kinds
from pinnace.admission import jobstatuses
from pinnace.admission.jobs import FAILED as ONLY_ENDED
from pinnace.admission.jobs import INDEXED
from pinnace.admission.jobstatuses import COMPLETE, FAILED, SUSPENDED, is_finished
from pinnace.batch.v1.job_pb2 import Job
from pinnace.clock import Ids, RandomIds
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.errors import ApiError
from pinnace.jobindexes import Indexes
from pinnace.kinds import Kind

MANAGED_BY = "kubernetes.io/job-controller"
# Seconds between two tries to create a pod that was rejected, at least and at most.
RETRY, LONGEST_RETRY = 1.0, 60.0


class Jobs:
    """Its keys are `namespace/name` of Jobs, and `namespace/name/pod` of pods that lost theirs."""

    name = "job"
    watches: tuple[Kind, ...] = (kinds.JOB, kinds.POD)

    def __init__(self, ids: Ids | None = None) -> None:
        self._pods = PodControl("job-controller", ids or RandomIds())

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        if event.row.kind is kinds.JOB:
            yield _key(event.row.key)
            if event.new is None and event.old is not None:
                rows = view.by_index(kinds.POD, OWNER, event.old.message.metadata.uid)
                yield from (f"{_key(row.key)}/pod" for row in rows)
            return
        for row in (event.old, event.new):
            key = podcontrol.owner_key(row.message, kinds.JOB) if row is not None else None
            if key is not None:
                yield key
        if event.new is not None:
            yield from _unowned(event.new.message, view)

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace, name, *of_pod = key.split("/")
        if of_pod:
            jobtracking.release_orphan(tx, namespace, name)
            return None
        item = tx.get(kinds.JOB, namespace, name)
        if item is None or item.spec.managedBy not in ("", MANAGED_BY):
            return None
        if is_finished(item):
            return jobtracking.release_all(tx, item)
        return Reconciliation(tx, item, self._pods, now.wall).step()


def _key(stored: str) -> str:
    return "/".join(stored.rsplit("/", 2)[1:])


def _unowned(pod: Pod, view: Tx) -> Iterable[str]:
    """Keys for a pod without a controller, or with one that is gone."""
    if jobpods.is_tracked(pod) and jobtracking.is_orphan(view, pod):
        yield f"{pod.metadata.namespace}/{pod.metadata.name}/pod"
    if podcontrol.controller_of(pod) is None:
        yield from podcontrol.selecting(view, kinds.JOB, pod, lambda job: job.spec.selector)


class Reconciliation:
    """One reconciliation of one Job that is not finished."""

    def __init__(self, tx: Tx, item: Job, control: PodControl, now: float) -> None:
        self._tx = tx
        self._item = item
        self._control = control
        self._now = now
        self._owner = Workload(kinds.JOB, item)
        self._pods = self._claim()
        self._active = [pod for pod in self._pods if podcontrol.is_active(pod)]
        self._terminating = sum(map(podcontrol.is_terminating, self._pods))
        # Seconds until something is to be done although nothing changes.
        self._waits: list[float] = []

    def _claim(self) -> list[Pod]:
        """The Job's pods; those that it adopts are counted too."""
        selector, uid = self._item.spec.selector, self._item.metadata.uid
        before = {row.message.metadata.uid for row in self._tx.by_index(kinds.POD, OWNER, uid)}
        pods: list[Pod] = podcontrol.claim(self._tx, self._owner, selector, kinds.POD)
        for pod in pods:
            if pod.metadata.uid not in before and not jobpods.is_tracked(pod):
                pod.metadata.finalizers.append(jobpods.TRACKING)
                self._tx.put(kinds.POD, pod)
        return pods

    @property
    def _is_indexed(self) -> bool:
        return self._item.spec.completionMode == INDEXED

    @property
    def _counts_indexes(self) -> bool:
        return self._item.spec.HasField("backoffLimitPerIndex")

    def step(self) -> Requeue | None:
        item = self._item
        self._count_reported()
        self._start()
        progress = self._progress()
        kept = self._kept(progress)
        end = jobends.find(item, self._pods, progress, self._now)
        if end is not None:
            self._delete_active()
        elif not self._owner.deleting and not podcontrol.namespace_ends(self._tx, item.metadata.namespace):
            self._manage(progress, kept)
            end = self._completed(progress)
            if end is None:
                self._note_suspension()
        self._count(progress, kept, end)
        self._finish(end)
        return self._write()

    def _start(self) -> None:
        """Set the time of the start, anew when the Job is resumed: before the deadline is looked at."""
        status = self._item.status
        resumed = jobstatuses.is_true(self._item, SUSPENDED)
        if not self._item.spec.suspend and (resumed or not status.HasField("startTime")):
            status.startTime.CopyFrom(codec.time_of(self._now))

    def _count_reported(self) -> None:
        """Pods that another controller listed as ended and did not count: they count now, and not as pods again."""
        uncounted = self._item.status.uncountedTerminatedPods
        self._listed = {*uncounted.succeeded, *uncounted.failed}
        self._item.status.succeeded += len(uncounted.succeeded)
        self._item.status.failed += len(uncounted.failed)
        self._item.status.ClearField("uncountedTerminatedPods")
        self._item.status.uncountedTerminatedPods.SetInParent()

    def _uncounted(self) -> Iterator[Pod]:
        for pod in self._pods:
            if jobpods.is_tracked(pod) and pod.metadata.uid not in self._listed:
                yield pod

    def _failed_pods(self) -> list[Pod]:
        return [pod for pod in self._uncounted() if jobpods.is_valid(pod, self._item) and jobpods.is_failed(pod, self._item)]

    def _progress(self) -> Progress:
        item, status = self._item, self._item.status
        failed = status.failed + sum(jobpods.judge(pod, item).counts for pod in self._failed_pods())
        succeeded = [pod for pod in self._uncounted() if pod.status.phase == "Succeeded"]
        if not self._is_indexed:
            return Progress(status.succeeded + len(succeeded), failed, Indexes(), Indexes())
        indexes = (jobpods.index_of(pod, item) for pod in succeeded)
        done = jobindexes.lenient(status.completedIndexes, item.spec.completions).with_more(
            index for index in indexes if index is not None
        )
        return Progress(len(done), failed, done, self._broken(done))

    def _broken(self, done: Indexes) -> Indexes:
        item = self._item
        if not self._counts_indexes:
            return Indexes()
        broken = (jobpods.index_of(pod, item) for pod in self._failed_pods() if jobpods.is_index_failed(pod, item))
        before = jobindexes.lenient(item.status.failedIndexes, item.spec.completions)
        return before.with_more(index for index in broken if index is not None and index not in done)

    def _kept(self, progress: Progress) -> dict[int, Pod]:
        """Failed pods that are counted when the next pod of their index exists, since it takes over their number."""
        if not self._counts_indexes:
            return {}
        active = {jobpods.index_of(pod, self._item) for pod in self._active}
        failed = self._failed_pods()
        indexes = {index for pod in failed if (index := jobpods.index_of(pod, self._item)) is not None}
        settled = {index: index in active or index in progress.done or index in progress.broken for index in indexes}
        return jobpods.delayed(failed, self._item, settled)

    # Pods

    def _manage(self, progress: Progress, kept: dict[int, Pod]) -> None:
        """Create or delete pods."""
        wanted = self._wanted(progress)
        order = jobpods.removal_order(self._active)
        surplus = jobpods.duplicates(order, self._item) if self._is_indexed else []
        others = [pod for pod in order if pod not in surplus]
        surplus += others[: max(len(order) - wanted - len(surplus), 0)]
        if surplus:
            self._drop(surplus)
            return
        # Where only pods that have ended are replaced, those that are about to keep their place.
        waiting = self._terminating if self._item.spec.podReplacementPolicy == ONLY_ENDED else 0
        missing = wanted - waiting - len(self._active)
        if missing > 0 and not self._item.spec.suspend:
            self._create(missing, progress, kept)

    def _wanted(self, progress: Progress) -> int:
        spec = self._item.spec
        if spec.suspend:
            return 0
        if not spec.HasField("completions"):
            return len(self._active) if progress.succeeded else spec.parallelism
        return max(min(spec.completions - progress.succeeded, spec.parallelism), 0)

    def _create(self, missing: int, progress: Progress, kept: dict[int, Pod]) -> None:
        delay = 0.0 if self._counts_indexes else jobpods.backoff(self._pods, self._now)
        if delay > 0:
            self._waits.append(delay)
            return
        indexes: list[int | None] = [None] * min(missing, BATCH)
        if self._is_indexed:
            indexes = self._pending(min(missing, BATCH), progress, kept)
        for done, index in enumerate(indexes):
            if done and self._tx.full:
                self._waits.append(0.0)
                return
            if not self._create_one(index, kept.get(index) if index is not None else None):
                return
        # Where some of the batch have to wait, the next transaction would find the same ones.
        if missing > BATCH and len(indexes) == BATCH:
            self._waits.append(0.0)

    def _pending(self, count: int, progress: Progress, kept: dict[int, Pod]) -> list[int | None]:
        """The first indexes without a pod, except those that have to wait."""
        only_ended = self._item.spec.podReplacementPolicy == ONLY_ENDED
        busy = [pod for pod in self._pods if only_ended and podcontrol.is_terminating(pod)]
        taken = {index for pod in (*self._active, *busy) if (index := jobpods.index_of(pod, self._item)) is not None}
        settled = progress.done.union(progress.broken).with_more(taken)
        found: list[int | None] = []
        for index, _ in zip(settled.missing(self._item.spec.completions), range(count), strict=False):
            delay = jobpods.index_backoff(kept[index], self._now) if index in kept else 0.0
            if delay > 0:
                self._waits.append(delay)
            else:
                found.append(index)
        return found

    def _create_one(self, index: int | None, replaced: Pod | None) -> bool:
        pod = jobpods.make(self._owner, index, replaced)
        prefix = pod.metadata.generateName
        try:
            self._control.create(self._tx, pod, self._owner, self._now)
        except ApiError as error:
            # As Kubernetes, which names the pod only after admission: the same text each time.
            self._control.failed(self._tx, self._owner, str(error).replace(pod.metadata.name or prefix, prefix), self._now)
            lasted = self._now - self._item.status.startTime.seconds
            self._waits.append(min(max(lasted, RETRY), LONGEST_RETRY))
            return False
        self._active.append(pod)
        return True

    def _drop(self, pods: list[Pod]) -> None:
        """Delete pods that do not count, neither as succeeded nor as failed."""
        for pod in self._some(pods):
            jobtracking.untrack(self._tx, pod)
            self._delete(pod)

    def _delete_active(self) -> None:
        for pod in self._some(list(self._active)):
            self._delete(pod)

    def _some(self, pods: list[Pod]) -> Iterator[Pod]:
        """As many as fit into the transaction."""
        for done, pod in enumerate(pods):
            if done >= BATCH or (done and self._tx.full):
                self._waits.append(0.0)
                return
            yield pod

    def _delete(self, pod: Pod) -> None:
        self._control.delete(self._tx, pod, self._owner, self._now)
        self._active = [each for each in self._active if each is not pod]
        self._terminating += self._tx.get(kinds.POD, pod.metadata.namespace, pod.metadata.name) is not None

    # Counting

    def _count(self, progress: Progress, kept: dict[int, Pod], end: End | None) -> None:
        """Count pods that have ended and remove their finalizers."""
        item, status = self._item, self._item.status
        still = {pod.metadata.uid for pod in kept.values()} if end is None and not self._owner.deleting else set()
        active = {pod.metadata.uid for pod in self._active}
        leaving = [pod for pod in self._pods if jobpods.is_tracked(pod) and self._may_leave(pod, end, active, still)]
        for pod in self._some(leaving):
            if pod.metadata.uid not in self._listed and jobpods.is_valid(pod, item):
                self._count_one(pod, end)
            jobtracking.untrack(self._tx, pod)
        if self._is_indexed:
            status.succeeded, status.completedIndexes = len(progress.done), str(progress.done)
            if self._counts_indexes:
                status.failedIndexes = str(progress.broken)

    def _may_leave(self, pod: Pod, end: End | None, active: set[str], kept: set[str]) -> bool:
        if self._owner.deleting or pod.status.phase == "Succeeded":
            return True
        if end is not None:
            # The others are deleted by the next transaction.
            return pod.metadata.uid not in active
        return jobpods.is_failed(pod, self._item) and pod.metadata.uid not in kept

    def _count_one(self, pod: Pod, end: End | None) -> None:
        item, status = self._item, self._item.status
        if pod.status.phase == "Succeeded":
            # The indexes of an Indexed Job are counted as a set.
            status.succeeded += not self._is_indexed
        elif jobpods.is_failed(pod, item) or (end is not None and not end.is_success):
            status.failed += jobpods.judge(pod, item).counts

    # The end

    def _completed(self, progress: Progress) -> End | None:
        spec = self._item.spec
        needed = spec.completions if spec.HasField("completions") else 1
        return jobends.COMPLETIONS_REACHED if progress.succeeded >= needed and not self._active else None

    def _note_suspension(self) -> None:
        """A suspended Job has no time of its start: where its pods run may change, and the deadline counts anew."""
        if self._item.spec.suspend:
            if self._set(SUSPENDED, "True", "JobSuspended", "Job suspended"):
                self._control.event(self._tx, self._owner, "Suspended", "Job suspended", self._now)
                self._item.status.ClearField("startTime")
        elif jobstatuses.is_true(self._item, SUSPENDED):
            self._set(SUSPENDED, "False", "JobResumed", "Job resumed")
            self._control.event(self._tx, self._owner, "Resumed", "Job resumed", self._now)

    def _finish(self, end: End | None) -> None:
        """Record the end; the terminal condition when no pod is left that runs or is not counted."""
        if end is None:
            return
        status = self._item.status
        self._set(end.type, "True", end.reason, end.message)
        if self._active or self._terminating or self._waits:
            return
        if not status.HasField("startTime"):
            status.startTime.CopyFrom(codec.time_of(self._now))
        self._set(COMPLETE if end.is_success else FAILED, "True", end.reason, end.message)
        if end.is_success:
            status.completionTime.CopyFrom(codec.time_of(self._now))
            if self._item.spec.HasField("completions") and status.succeeded > self._item.spec.completions:
                text = "Too many succeeded pods running after completion count reached"
                self._control.event(self._tx, self._owner, "TooManySucceededPods", text, self._now, warning=True)
            self._control.event(self._tx, self._owner, "Completed", "Job completed", self._now)
        else:
            self._control.event(self._tx, self._owner, end.reason, end.message, self._now, warning=True)

    def _set(self, type_: str, value: str, reason: str, message: str) -> bool:
        """Set a condition; whether it changed."""
        status = self._item.status
        if not conditions.put(status, type_, value, now=self._now, reason=reason, message=message):
            return False
        found = conditions.find(status, type_)
        assert found is not None
        found.lastProbeTime.CopyFrom(codec.time_of(self._now))
        return True

    def _write(self) -> Requeue | None:
        item, status = self._item, self._item.status
        status.active, status.terminating = len(self._active), self._terminating
        status.ready = sum(podcontrol.ready_since(pod) is not None for pod in self._active)
        verbs.update_status(self._tx, kinds.JOB, item, self._control.call(self._now))
        left = jobends.until_deadline(item, self._now) if not is_finished(item) else None
        waits = [*self._waits, *([left] if left is not None and left > 0 else [])]
        return Requeue(min(waits)) if waits else None
