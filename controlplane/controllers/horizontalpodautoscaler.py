"""Sets the replicas of workloads by what their pods use. Root kind: HorizontalPodAutoscaler.

Usage comes from a snapshot (`controlplane.podusage`). Earlier recommendations and changes are kept in memory, as
kube-controller-manager keeps them: after a restart the present number of replicas is the first recommendation.
Source: kube-controller-manager's horizontal.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from controlplane.controllers.autoscalerselectors import AutoscalerSelectors
from controlplane.controllers.horizontalscaling import Reconciliation, Settings
from controlplane.controllers.runner import Moment, Requeue
from controlplane.controllers.scalebehavior import History
from controlplane.podusage import PodUsage
from controlplane.store import Event, Tx
from pinnace import kinds
from pinnace.autoscaling.v2.horizontalpodautoscaler_pb2 import HorizontalPodAutoscaler
from pinnace.clock import Ids, RandomIds
from pinnace.kinds import Kind

# Seconds between looks for the first measurement of an autoscaler's pods, and after which it is missing.
FIRST_LOOK, FIRST_MEASUREMENT = 1.0, 20.0


@dataclass(frozen=True, slots=True)
class Memory:
    """State kept of one autoscaler: since when it is known in watched time, its history, and the one that follows from
    the last reconciliation, at the wall time `last`, which may have been rolled back. `rescaled`: it changed the replicas."""

    uid: str
    since: float
    history: History = field(default_factory=History)
    last: float | None = None
    next: History = field(default_factory=History)
    rescaled: bool = False


class HorizontalPodAutoscalers:
    name = "horizontalpodautoscaling"
    watches: tuple[Kind, ...] = (kinds.HORIZONTAL_POD_AUTOSCALER,)

    def __init__(self, usage: PodUsage, settings: Settings | None = None, ids: Ids | None = None) -> None:
        self._usage = usage
        self._settings = settings or Settings()
        self._ids = ids or RandomIds()
        self._memories: dict[str, Memory] = {}
        self._selectors = AutoscalerSelectors()

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        """A new one, a new spec, and the end; not each status that this controller writes."""
        old, new = event.old, event.new
        if old is None or new is None or old.message.metadata.generation != new.message.metadata.generation:
            yield "/".join(event.row.key.rsplit("/", 2)[1:])

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace, _, name = key.partition("/")
        item = tx.get(kinds.HORIZONTAL_POD_AUTOSCALER, namespace, name)
        if item is None:
            self._forget(namespace, self._memories.pop(key, None))
            return None
        memory = self._remembered(key, item, now)
        if not self._is_measured(item, memory, now):
            return Requeue(FIRST_LOOK)
        run = Reconciliation(
            tx, item, self._usage, self._settings, now=now, history=memory.history, ids=self._ids, selected=self._selectors
        )
        run.step()
        # State outside of the transaction: `_remembered` undoes it where the transaction is tried again or fails.
        self._memories[key] = replace(memory, last=now.wall, next=run.history, rescaled=run.rescaled)
        return Requeue(self._settings.period)

    def _remembered(self, key: str, item: HorizontalPodAutoscaler, now: Moment) -> Memory:
        """The state kept of an autoscaler, with the outcome of the last reconciliation where that was committed."""
        memory = self._memories.get(key)
        if memory is None or memory.uid != item.metadata.uid:
            self._forget(item.metadata.namespace, memory)
            memory = Memory(item.metadata.uid, now.watched)
        elif memory.last is not None:
            history = memory.next
            if memory.rescaled and item.status.lastScaleTime.seconds < int(memory.last):
                history = replace(memory.history, recommendations=history.recommendations)
            memory = replace(memory, history=history, last=None, rescaled=False)
        self._memories[key] = memory
        return memory

    def _forget(self, namespace: str, memory: Memory | None) -> None:
        if memory is not None:
            self._selectors.remove(namespace, memory.uid)

    def _is_measured(self, item: HorizontalPodAutoscaler, memory: Memory, now: Moment) -> bool:
        """Whether its pods have been measured, or should have been."""
        return item.metadata.uid in self._usage.covered or now.watched - memory.since >= FIRST_MEASUREMENT
