"""The scheduler's loop: watch pods and nodes, place those that wait in batches, and commit the decisions.

Only this file of the scheduler awaits. An error in one pod, node or transaction is contained: it is logged, counted, shown on
the object, and tried again after a back-off. The last decision on each pod stays here for `kctl why`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from controlplane import metrics
from controlplane.requests import verbs
from controlplane.scheduler import arrays, binding, volumes
from controlplane.scheduler.cache import NAME, Cache
from controlplane.scheduler.chunks import chunks
from controlplane.scheduler.explain import Verdict, verdicts
from controlplane.scheduler.placement import Decision
from controlplane.scheduler.plugins import Profile, default_profile
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.preemption import Budget, Preemption, budget
from controlplane.scheduler.queue import QueuedPod, error_backoff
from controlplane.store import Event, Store, origin
from pinnace import kinds
from pinnace.clock import Clock, RandomIds, perf
from pinnace.errors import Expired, Unavailable

log = logging.getLogger("pinnace.scheduler")
# Pods placed and events taken in before other tasks of the process run: some milliseconds.
BATCH = 40
EVENTS, EVENT_BYTES = 50, 512 << 10
# Nodes from which those that come with the next events may be too many for small arrays.
MANY = arrays.SMALL - EVENTS
# A rejection with the same message is recorded again after this many seconds.
TELL_EVERY = 10.0
# A run that lasted this many seconds resets the back-off of the loop.
SOUND = 60.0
# The filters that a pod waits for whose volumes are being bound.
VOLUMES = frozenset(("VolumeBinding",))
# The part of the queue, in metrics, of pods with scheduling gates (as in kube-scheduler).
GATED = "gated"
# Seconds after a commit that failed because the backend is away, so that it is not called without pause.
PAUSE = 0.05


# A decision on a pod, and which attempt it was.
Attempted = Callable[[Decision, int], None]


@dataclass(slots=True)
class _Attempt:
    """One try of one pod. `begun` is a reading of `perf`."""

    entry: QueuedPod
    decision: Decision
    begun: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """The last decision on a pod, after how many attempts, when the next one is, and each node as it is now."""

    decision: Decision
    attempts: int
    next_attempt: str
    verdicts: Sequence[Verdict]


class Scheduler:
    def __init__(
        self, store: Store, clock: Clock, profile: Profile | None = None, *, attempted: Attempted | None = None
    ) -> None:  # fmt: skip
        """`attempted` is told of each attempt, before it is committed."""
        self._store = store
        self._attempted = attempted
        self._clock = clock
        self._ids = RandomIds()
        self._wake = asyncio.Event()
        self._profile = profile or default_profile()
        self._cache = Cache(self._profile)
        self._attempts: dict[str, int] = {}
        # By namespace/name.
        self.decisions: dict[str, Decision] = {}

    def explain(self, namespace: str, name: str, uid: str) -> Explanation | None:
        """None for a pod that this scheduler has not tried."""
        key = f"{namespace}/{name}"
        decision = self.decisions.get(key)
        if decision is None or decision.pod.uid != uid:
            return None
        waits = self._cache.queue.next_attempt(key, self._clock.monotonic())
        return Explanation(decision, self._attempts.get(key, 0), waits, self._verdicts(decision))

    def _verdicts(self, decision: Decision) -> Sequence[Verdict]:
        try:
            return verdicts(decision.pod, self._cache.table, self._profile)
        except Exception:  # the decision's message says what is wrong
            log.exception("explain_failed pod=%s", decision.pod.key)
            return ()

    async def run(self) -> None:
        """Schedule until cancelled; then it explains nothing any more."""
        try:
            with origin.acting(NAME):
                await self._keep_following()
        finally:
            self.decisions.clear()
            self._attempts.clear()
            self._cache = Cache(self._profile)

    async def _keep_following(self) -> None:
        failures = 0
        while True:
            begun = self._clock.monotonic()
            try:
                await self._follow()
            except* Expired:
                log.warning("scheduler_relisting")
            except* Exception:
                # The next run starts from the store again.
                log.exception("scheduler_failed")
                metrics.scheduler_errors.labels("loop").inc()
            failures = 1 if self._clock.monotonic() - begun > SOUND else failures + 1
            await self._clock.sleep(error_backoff(failures))

    async def _follow(self) -> None:
        self._cache = Cache(self._profile)
        stored, watcher = self._store.view_and_watch(kinds.NODE, kinds.POD, kinds.NAMESPACE, *volumes.KINDS)
        try:
            # Nothing is placed before all that is placed already has been counted.
            await self._note([Event(None, item, item.revision) for item in stored])
            async with asyncio.TaskGroup() as group:
                group.create_task(self._schedule())
                async for events in watcher:
                    await self._note(events)
        finally:
            watcher.close()

    async def _note(self, events: list[Event]) -> None:
        for part in chunks(events, size=lambda event: len(event.row.value), count=EVENTS, total=EVENT_BYTES):
            if len(self._cache.table) > MANY and not arrays.is_loaded():
                # In a thread: it takes 0.1 s.
                await asyncio.to_thread(arrays.load)
            for key in self._cache.note(part, self._clock.monotonic()):
                self.decisions.pop(key, None)
                self._attempts.pop(key, None)
            self._wake.set()
            await asyncio.sleep(0)

    async def _schedule(self) -> None:
        queue = self._cache.queue
        while True:
            self._wake.clear()
            await self._report_nodes()
            batch = queue.pop(BATCH, self._clock.monotonic())
            for place, count in queue.counts.items():
                metrics.pending_pods.labels(place).set(count)
            metrics.pending_pods.labels(GATED).set(len(self._cache.gated))
            if batch:
                attempts = [self._attempt(entry) for entry in batch]
                await self._commit(attempts)
                for attempt in attempts:
                    await self._preempt(attempt)
            else:
                await self._clock.wait(self._wake, queue.due(self._clock.monotonic()))

    def _attempt(self, entry: QueuedPod) -> _Attempt:
        begun, pod = perf(), entry.info
        try:
            decision = self._place(entry)
        except Exception as error:  # an error in one pod must not keep others from being placed
            log.error("placement_failed pod=%s error=%r", pod.key, error, exc_info=not pod.invalid)
            metrics.scheduler_errors.labels("pod").inc()
            decision = Decision(pod, message=pod.invalid or f"{type(error).__name__}: {error}"[:500], failed=True)
            self._cache.queue.failed(entry, self._clock.monotonic())
        self.decisions[pod.key] = decision
        self._attempts[pod.key] = entry.attempts
        if self._attempted is not None:
            self._attempted(decision, entry.attempts)
        return _Attempt(entry, decision, begun)

    def _place(self, entry: QueuedPod) -> Decision:
        if entry.info.invalid:
            raise ValueError(entry.info.invalid)
        decision = self._cache.place(entry.info)
        if decision.node:
            self._cache.assume(decision.pod)
            if decision.volumes is not None:
                # It keeps its place on the node until its claims are bound.
                self._cache.queue.rejected(entry, VOLUMES)
        else:
            # Before the commit: an event that comes meanwhile may already help.
            self._cache.queue.rejected(entry, decision.plugins)
        return decision

    async def _preempt(self, attempt: _Attempt) -> None:
        """Evict less important pods for one that fits nowhere. After the commit: the pods of the batch are bound now."""
        entry, pod = attempt.entry, attempt.entry.info
        if attempt.decision.node or attempt.decision.failed or self._cache.queue.get(pod.key) is not entry:
            return
        try:
            found = await self._search(pod)
            if found is not None:
                await self._carry_out(pod, found)
        except Exception as error:  # the pod is tried again, and the rest of the victims with it
            log.warning("preemption_failed pod=%s error=%r", pod.key, error)
            metrics.scheduler_errors.labels("preemption").inc()
            self._cache.queue.failed(entry, self._clock.monotonic())

    async def _search(self, pod: PodInfo) -> Preemption | None:
        """A step may take some milliseconds; other tasks of the process run after each."""
        steps = self._cache.preempt(pod, self._budgets)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                found: Preemption | None = end.value
                return found
            finally:
                await asyncio.sleep(0)

    def _budgets(self) -> list[Budget]:
        return [budget(row.message) for row in self._store.rows(kinds.POD_DISRUPTION_BUDGET)]

    async def _carry_out(self, pod: PodInfo, found: Preemption) -> None:
        """Nominate the pod first: its room must not be given away. Each victim has a transaction of its own."""
        if not await self._store.update(functools.partial(binding.nominate, pod=pod, node=found.node)):
            self._cache.nominations.remove(pod.key)
            return
        displaced = self._cache.nominations.less_important(pod, found.node)
        for other in displaced:
            self._cache.nominations.remove(other.key)
            await self._store.update(functools.partial(binding.nominate, pod=other, node=""))
        keys = {item.key for item in displaced}
        self._cache.queue.activate(lambda entry: entry.info.key in keys, self._clock.monotonic())
        log.info("preempting pod=%s node=%s victims=%d", pod.key, found.node, len(found.victims))
        for victim in found.victims:
            call = verbs.Call(self._clock.now(), self._ids)
            await self._store.update(functools.partial(binding.evict, victim=victim, pod=pod, call=call))
            metrics.preempted.inc()

    # Committing

    async def _commit(self, attempts: list[_Attempt]) -> None:
        now = self._clock.monotonic()
        written = [attempt for attempt in attempts if attempt.decision.node or self._tells(attempt, now)]
        limits = self._store.backend.limits
        # One operation is left for the leader's lease, which each of its transactions reads.
        count = max((limits.operations - 1) // binding.OPERATIONS, 1)
        for group in chunks(written, size=self._size, count=count, total=limits.size, alone=_is_alone):
            await self._commit_group(group)
        for attempt in attempts:
            result = "error" if attempt.decision.failed else "scheduled" if attempt.decision.node else "unschedulable"
            metrics.scheduling_attempt.labels(result).observe(perf() - attempt.begun)

    def _tells(self, attempt: _Attempt, now: float) -> bool:
        """Whether a rejection is news. The pods that wait write nothing while nothing changes."""
        entry, message = attempt.entry, attempt.decision.message
        if entry.told == message and now - entry.told_at < TELL_EVERY:
            return False
        entry.told, entry.told_at = message, now
        return True

    def _size(self, attempt: _Attempt) -> int:
        row = self._store.row(kinds.POD, kinds.POD.key(*attempt.decision.pod.key.split("/", 1)))
        # A rejection's message is in the condition and in the event.
        return (len(row.value) if row else 0) + 2 * len(attempt.decision.message) + binding.OVERHEAD

    async def _commit_group(self, group: list[_Attempt]) -> None:
        decisions = [attempt.decision for attempt in group]
        try:
            bound = await self._store.update(functools.partial(binding.commit, decisions=decisions, now=self._clock.now()))
        except Exception as error:  # the next attempt commits each of these pods alone
            await self._failed(group, error)
            return
        for attempt in group:
            key = attempt.decision.pod.key
            pod = bound.get(key)
            if pod is None or attempt.decision.volumes is not None:
                continue
            metrics.bound.inc()
            waiting = self._cache.queue.get(key)
            if waiting is not None and waiting.info.uid == attempt.decision.pod.uid:
                self._cache.queue.delete(key)
            if key in self._cache.assumed:
                self._cache.assumed[key] = int(pod.metadata.resourceVersion)
        # These changed meanwhile; the watch tells what became of them.
        self._drop([attempt for attempt in group if attempt.decision.node and attempt.decision.pod.key not in bound])

    def _drop(self, stale: Iterable[_Attempt]) -> None:
        for attempt in stale:
            key = attempt.decision.pod.key
            self._cache.forget([key], self._clock.monotonic())
            if attempt.decision.pod.claims:
                # It may be its claims that changed, and not the pod.
                self._cache.queue.failed(attempt.entry, self._clock.monotonic())
                continue
            if self.decisions.get(key) is attempt.decision:
                del self.decisions[key]
            if self._cache.queue.get(key) is attempt.entry:
                self._cache.queue.delete(key)

    async def _failed(self, group: list[_Attempt], error: Exception) -> None:
        log.warning("commit_failed pods=%d first=%s error=%r", len(group), group[0].decision.pod.key, error)
        metrics.scheduler_errors.labels("commit").inc()
        now = self._clock.monotonic()
        message = f"cannot commit the decision: {error}"
        for attempt in group:
            attempt.entry.told = ""
            self._cache.queue.failed(attempt.entry, now)
            pod = attempt.decision.pod
            if attempt.decision.node and pod.key in self.decisions:
                self.decisions[pod.key] = Decision(pod.on(""), message=message, failed=True)
        self._cache.forget([attempt.decision.pod.key for attempt in group if attempt.decision.node], now)
        if len(group) == 1:
            await self._report(group[0], message)
        if isinstance(error, Unavailable):
            await self._clock.sleep(PAUSE)

    async def _report(self, attempt: _Attempt, message: str) -> None:
        """Show on a pod that its own transaction failed."""
        try:
            await self._store.update(
                functools.partial(binding.report, decision=attempt.decision, message=message, now=self._clock.now())
            )
        except Exception as second:
            log.warning("report_failed pod=%s error=%r", attempt.decision.pod.key, second)

    async def _report_nodes(self) -> None:
        """Show on nodes what could not be read of them."""
        while self._cache.unreported:
            name = self._cache.unreported.pop()
            message = f"the scheduler cannot read this node's status: {self._cache.invalid.get(name, '')}"
            try:
                await self._store.update(
                    functools.partial(binding.report_node, name=name, message=message, now=self._clock.now())
                )
            except Exception as error:
                log.warning("report_failed node=%s error=%r", name, error)


def _is_alone(attempt: _Attempt) -> bool:
    """Whether an attempt has a transaction of its own: it failed before, or writes objects besides its pod."""
    return attempt.entry.errors > 0 or bool(attempt.decision.pod.claims)
