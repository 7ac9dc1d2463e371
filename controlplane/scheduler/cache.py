"""The scheduler's view of the cluster: events of pods and nodes become changes of the node table and of the queue.

A pod that the scheduler has placed is *assumed*: it counts from then on, before the watch confirms it. An event that is older
than the scheduler's own binding says nothing new of that pod. An object that cannot be read concerns itself alone.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field

from controlplane import metrics
from controlplane.scheduler import nodeinfo, podinfo, volumes
from controlplane.scheduler.clusterevent import Changes, ClusterEvent
from controlplane.scheduler.nominations import Nominations
from controlplane.scheduler.placement import Decision, place_one, rejecting
from controlplane.scheduler.plugins import Profile
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.preemption import Budget, Preemption, search
from controlplane.scheduler.queue import UNSCHEDULABLE, QueuedPod, SchedulingQueue
from controlplane.scheduler.table import NodeTable
from controlplane.store import Event
from pinnace import kinds
from pinnace.core.v1 import pod_pb2

log = logging.getLogger("pinnace.scheduler")
NAME = "default-scheduler"
FINISHED = ("Succeeded", "Failed")
# Different pods for which one event is checked exactly; others are tried.
MAX_CHECKED = 200
# Different pods whose rejections are remembered.
MAX_REJECTIONS = 1000


@dataclass(slots=True)
class Cache:
    """The table and the queue, kept up to date. `assumed`: pods placed here, with the revision of the binding, 0 before it.

    `rejections`: decisions by the signature of their pod that hold until an event may help, since placing other pods does not;
    those of pods which other pods may help are in `until_placed`, and hold until one is placed.
    `hopeless`: signatures and priorities of pods for which no preemption helps, until an event; `events` counts those.
    `awaiting`: a pod may wait for others to be placed; while none does, these events cost nothing.
    `gated`: pods that wait until their scheduling gates are removed; they are not queued.
    `invalid` holds what could not be read of nodes, and `unreported` the nodes whose entry there has changed.
    """

    profile: Profile
    table: NodeTable = field(default_factory=NodeTable)
    queue: SchedulingQueue = field(default_factory=SchedulingQueue)
    assumed: dict[str, int] = field(default_factory=dict)
    rejections: dict[tuple[object, ...], Decision] = field(default_factory=dict)
    until_placed: dict[tuple[object, ...], Decision] = field(default_factory=dict)
    hopeless: set[tuple[object, ...]] = field(default_factory=set)
    events: int = 0
    nominations: Nominations = field(default_factory=Nominations)
    awaiting: bool = False
    gated: set[str] = field(default_factory=set)
    invalid: dict[str, str] = field(default_factory=dict)
    unreported: set[str] = field(default_factory=set)

    def note(self, events: Iterable[Event], now: float) -> list[str]:
        """Take in events; returns the keys of pods that are gone."""
        changes = Changes()
        gone: list[str] = []
        for event in events:
            try:
                if event.row.kind is kinds.NODE:
                    self._note_node(event, changes)
                elif event.row.kind is kinds.NAMESPACE:
                    self._note_namespace(event, changes)
                elif event.row.kind in volumes.KINDS:
                    self.table.volumes.note(event)
                    changes.add(ClusterEvent.STORAGE)
                elif self._note_pod(event, changes):
                    gone.append(pod_key(event))
            except Exception:  # one object must not keep the others from being scheduled
                log.exception("unreadable_object key=%s", event.row.key)
                metrics.scheduler_errors.labels("event").inc()
        self._activate(changes, now)
        return gone

    def _note_node(self, event: Event, changes: Changes) -> None:
        name = event.row.key.removeprefix(kinds.NODE.prefix)
        if event.new is None:
            self._remove_node(name, changes)
            self._report(name, "")
            return
        try:
            info = nodeinfo.read(event.new.message)
        except Exception as error:  # such a node takes no pods until it is changed
            log.exception("unreadable_node name=%s", name)
            metrics.scheduler_errors.labels("node").inc()
            self._remove_node(name, changes)
            self._report(name, f"{type(error).__name__}: {error}")
            return
        changes.add(self.table.set_node(info), self.table.row(name))
        self._report(name, info.invalid)

    def _remove_node(self, name: str, changes: Changes) -> None:
        self.table.remove_node(name)
        # They count the nodes.
        self._forget_rejections()
        changes.add(ClusterEvent.NODE_DELETE)

    def _forget_rejections(self) -> None:
        self.rejections.clear()
        self.until_placed.clear()
        self.hopeless.clear()
        self.events += 1

    def _note_namespace(self, event: Event, changes: Changes) -> None:
        name = event.row.key.removeprefix(kinds.NAMESPACE.prefix)
        labels = dict(event.new.message.metadata.labels) if event.new is not None else None
        if self.table.pods.set_namespace(name, labels):
            changes.add(ClusterEvent.UPDATE_NAMESPACE_LABEL)

    def _report(self, name: str, invalid: str) -> None:
        if self.invalid.get(name, "") == invalid:
            return
        if invalid:
            log.warning("invalid_node name=%s error=%s", name, invalid)
            metrics.scheduler_errors.labels("node").inc()
            self.invalid[name] = invalid
            self.unreported.add(name)
        else:
            del self.invalid[name]
            self.unreported.discard(name)

    def _note_pod(self, event: Event, changes: Changes) -> bool:
        key = pod_key(event)
        self.gated.discard(key)
        if event.new is None:
            self._remove(key, changes)
            return True
        if event.revision < self.assumed.get(key, 0):
            return False
        pod = event.new.message
        if pod.status.phase in FINISHED:
            self._remove(key, changes)
            return False
        counted = self.table.pod(key)
        if counted is not None and podinfo.unchanged(pod, counted):
            if key in self.assumed:
                changes.count(ClusterEvent.ASSIGNED_POD_ADD, self.table.row(counted.node))
            self._confirm(key)
            return False
        info = podinfo.read(pod)
        if info.node:
            self._bound(info, changes)
        elif waits(pod):
            self._waits(info, changes)
        else:
            self._remove(key, changes)
            if _is_unbound(pod):
                self.gated.add(key)
        return False

    def _remove(self, key: str, changes: Changes) -> None:
        self._confirm(key)
        self._count_out(key, changes)
        self._end_nomination(key, changes)

    def _end_nomination(self, key: str, changes: Changes) -> None:
        """The room is for others again."""
        nominated = self.nominations.remove(key)
        if nominated is not None:
            changes.count(ClusterEvent.ASSIGNED_POD_DELETE, self.table.row(nominated.node))

    def _confirm(self, key: str) -> None:
        """What is known of the pod is the store's: it is neither queued nor assumed."""
        self.queue.delete(key)
        self.assumed.pop(key, None)

    def _bound(self, info: PodInfo, changes: Changes) -> None:
        if info.invalid and self.table.pod(info.key) != info:
            log.warning("invalid_pod pod=%s error=%s", info.key, info.invalid)
            metrics.scheduler_errors.labels("pod").inc()
        self._confirm(info.key)
        old = self.table.pod(info.key)
        if old is not None and old != info:
            self._count_out(info.key, changes)
        self.table.add_pod(info)
        self._end_nomination(info.key, changes)
        if old != info:
            changes.count(ClusterEvent.ASSIGNED_POD_ADD, self.table.row(info.node))

    def _waits(self, info: PodInfo, changes: Changes) -> None:
        """A status that is written, by the scheduler or others, is no reason to try a pod again."""
        known = self.queue.get(info.key)
        if known is None or known.info != info:
            self.assumed.pop(info.key, None)
            self._count_out(info.key, changes)
            self.queue.add(info)
            if info.nominated:
                # By an earlier leader.
                self.nominations.set(info, info.nominated)

    def _count_out(self, key: str, changes: Changes) -> None:
        pod = self.table.remove_pod(key)
        if pod is not None:
            changes.count(ClusterEvent.ASSIGNED_POD_DELETE, self.table.row(pod.node))

    # The scheduler's own placements

    def place(self, pod: PodInfo) -> Decision:
        """Decide on a pod. Of many equal pods that fit nowhere only the first is compared with the nodes."""
        # Where it waits for its volumes it is counted already.
        self.assumed.pop(pod.key, None)
        self.table.remove_pod(pod.key)
        signature = self._signature(pod)
        kept = self.until_placed if pod.helped_by_pods else self.rejections
        known = kept.get(signature)
        if known is not None:
            return dataclasses.replace(known, pod=pod)
        with self.nominations.counted(pod, self.table):
            decision = place_one(pod, self.table, self.profile)
        if not decision.node:
            if len(kept) >= MAX_REJECTIONS:
                kept.clear()
            kept[signature] = decision
            self._await(decision.plugins)
        return decision

    def _await(self, plugins: frozenset[str]) -> None:
        self.awaiting = self.awaiting or bool(self.profile.events(plugins) & ClusterEvent.ASSIGNED_POD_ADD)

    def _signature(self, pod: PodInfo) -> tuple[object, ...]:
        """Where pods have anti-affinity the labels of others decide too, where room is kept for some their priorities."""
        labels = (pod.labels,) if self.table.anti_affinity else ()
        return (*labels, *((pod.priority,) if self.nominations else ()), *pod.signature)

    def preempt(
        self, pod: PodInfo, budgets: Callable[[], Sequence[Budget]]
    ) -> Generator[None, None, Preemption | None]:  # fmt: skip
        """The pods to evict for one that fits nowhere, and its nomination for their node; None where that does not help,
        while pods that were evicted for it are still terminating, or while too many pods are nominated. In steps, between
        which events may be noted."""
        if not pod.preempts or not self.table.has_below(pod.priority) or self._still_ending(pod) or self.nominations.is_full:
            return None
        signature, events = (pod.priority, *self._signature(pod)), self.events
        if signature in self.hopeless:
            return None
        steps = search(pod, self.table, self.profile, budgets())
        while True:
            try:
                with self.nominations.counted(pod, self.table):
                    next(steps)
            except StopIteration as end:
                found: Preemption | None = end.value
                break
            yield
        if found is not None:
            self.nominations.set(pod, found.node)
        elif events == self.events and len(self.hopeless) < MAX_REJECTIONS:
            self.hopeless.add(signature)
        return found

    def _still_ending(self, pod: PodInfo) -> bool:
        there = self.table.pods_on(self.nominations.node(pod.key))
        return any(item.labels.terminating and item.priority < pod.priority for item in there)

    def assume(self, pod: PodInfo) -> None:
        """Count a pod on its node before it is bound there."""
        self.assumed[pod.key] = 0
        self.table.add_pod(pod)
        self.until_placed.clear()

    def forget(self, pods: Iterable[str], now: float) -> None:
        """Count out assumed pods that were not bound."""
        changes = Changes()
        for key in pods:
            if self.assumed.pop(key, None) is not None:
                self._count_out(key, changes)
        self._activate(changes, now)

    def _activate(self, changes: Changes, now: float) -> None:
        """Retry the pods which the changes may help: one of the filters that rejected them listens to such a change, and
        one of the changed nodes passes all filters now, or any node where it is a filter that compares domains.

        A pod that still does not fit listens from now on for the filters that reject the changed nodes. So one of the filters
        that reject a node is always among those of the pod, and the change that ends the last rejection is noticed."""
        if not changes.events:
            return
        if changes.events == ClusterEvent.ASSIGNED_POD_ADD:
            self.until_placed.clear()
        else:
            self._forget_rejections()
        if not self.queue.counts[UNSCHEDULABLE] or (changes.events == ClusterEvent.ASSIGNED_POD_ADD and not self.awaiting):
            return
        changed = slice(changes.first, changes.last + 1)
        listening: dict[frozenset[str], bool] = {}
        found: dict[tuple[object, ...], frozenset[str] | None] = {}

        def helps(entry: QueuedPod) -> bool:
            if entry.info.key in self.assumed:
                return not self.table.volumes.in_progress(entry.info)
            if entry.plugins not in listening:
                listening[entry.plugins] = bool(self.profile.events(entry.plugins) & changes.events)
            if not listening[entry.plugins]:
                return False
            rows = self.table.rows if self.profile.wide(entry.plugins, changes.events) else changed
            signature = (rows.stop - rows.start, *self._signature(entry.info))
            if signature not in found:
                found[signature] = None if len(found) >= MAX_CHECKED else self._rejecting(entry.info, rows)
            plugins = found[signature]
            if plugins is not None:
                entry.plugins |= plugins
                self._await(plugins)
            return plugins is None

        self.queue.activate(helps, now)
        if changes.events == ClusterEvent.ASSIGNED_POD_ADD:
            self.awaiting = any(listening.values())

    def _rejecting(self, info: PodInfo, rows: slice) -> frozenset[str] | None:
        """The filters that reject nodes of these rows; None when one of the nodes may fit."""
        try:
            return rejecting(info, self.table, self.profile, rows)
        except Exception:  # the attempt that follows reports it
            return None


def waits(pod: pod_pb2.Pod) -> bool:
    """Whether this scheduler is to place a pod: it is neither another scheduler's, bound, gated, nor terminating."""
    return _is_unbound(pod) and not pod.spec.schedulingGates


def _is_unbound(pod: pod_pb2.Pod) -> bool:
    other = pod.spec.schedulerName not in ("", NAME)
    return not other and not pod.spec.nodeName and not pod.metadata.deletionTimestamp.seconds


def pod_key(event: Event) -> str:
    """`namespace/name`."""
    return event.row.key.removeprefix(kinds.POD.prefix)
