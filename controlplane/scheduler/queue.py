"""The scheduling queue, with the parts and names of Kubernetes'. Pure: times are the caller's, in seconds.

- *active queue*: pods to be tried, by priority, age and name;
- *back-off queue*: pods that wait until their back-off ends, because they were tried often or an error occurred;
- *unschedulable pods*: rejected pods, which wait for an event that may help, or for UNSCHEDULABLE_FOR to pass.

A pod that `pop` returned is in none of them until `rejected`, `failed` or `delete` is called. A pod is in the queue once; a
change of its `PodInfo` puts it into the active queue at once.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

from controlplane.scheduler.podinfo import PodInfo

# Unschedulable pods are tried again after this time even if no event helps (podMaxInUnschedulablePodsDuration).
UNSCHEDULABLE_FOR = 300.0
# A rejected pod is tried this often without a back-off, so that room which comes is used at once.
FREE_ATTEMPTS = 3
FIRST_BACKOFF, FIRST_ERROR_BACKOFF, MAX_BACKOFF = 1.0, 0.2, 10.0
# 2 to this power exceeds every back-off; more could overflow.
_MAX_DOUBLINGS = 10


@dataclass(slots=True, eq=False)
class QueuedPod:
    """One pod that waits. `tried` is the time of the last attempt, `plugins` the filters that rejected it then.

    `errors` in succession; after one the pod is committed alone. `until`: the end of its back-off. `told` is the message of its
    last event, at `told_at`.
    """

    info: PodInfo
    attempts: int = 0
    errors: int = 0
    tried: float = 0.0
    until: float = 0.0
    plugins: frozenset[str] = frozenset()
    told: str = ""
    told_at: float = 0.0
    place: str = ""


def backoff(attempts: int) -> float:
    """Seconds between a rejection and the next attempt."""
    if attempts <= FREE_ATTEMPTS:
        return 0.0
    return min(math.ldexp(FIRST_BACKOFF, min(attempts - FREE_ATTEMPTS - 1, _MAX_DOUBLINGS)), MAX_BACKOFF)


def error_backoff(errors: int) -> float:
    """Seconds between an error and the next attempt."""
    return min(math.ldexp(FIRST_ERROR_BACKOFF, min(max(errors - 1, 0), _MAX_DOUBLINGS)), MAX_BACKOFF)


ACTIVE, BACKOFF, UNSCHEDULABLE, IN_FLIGHT = "active", "backoff", "unschedulable", "in flight"


class SchedulingQueue:
    def __init__(self) -> None:
        self._pods: dict[str, QueuedPod] = {}
        self._active: list[tuple[tuple[int, int, str], int, QueuedPod]] = []
        self._backoff: list[tuple[float, int, QueuedPod]] = []
        self._unschedulable: dict[str, QueuedPod] = {}
        # Decides between equal entries of a heap: pods do not compare.
        self._entries = 0
        self.counts = {ACTIVE: 0, BACKOFF: 0, UNSCHEDULABLE: 0, IN_FLIGHT: 0}

    def __len__(self) -> int:
        return len(self._pods)

    def get(self, key: str) -> QueuedPod | None:
        return self._pods.get(key)

    def add(self, info: PodInfo) -> None:
        """Queue a pod that is new or has changed; nothing happens where it is known as it is."""
        known = self._pods.get(info.key)
        if known is not None and known.info == info:
            return
        self.delete(info.key)
        entry = QueuedPod(info)
        if known is not None and known.info.uid == info.uid:
            entry.attempts, entry.told, entry.told_at = known.attempts, known.told, known.told_at
        self._pods[info.key] = entry
        self._activate(entry)

    def delete(self, key: str) -> None:
        """Remove a pod, wherever it is."""
        entry = self._pods.pop(key, None)
        if entry is not None:
            self._move(entry, "")

    def pop(self, limit: int, now: float) -> list[QueuedPod]:
        """Up to `limit` pods of the active queue, in order; pods whose time has come are moved there before."""
        self._flush(now)
        popped: list[QueuedPod] = []
        while self._active and len(popped) < limit:
            _, _, entry = heapq.heappop(self._active)
            # An entry that was moved or replaced since is stale.
            if entry.place == ACTIVE:
                self._move(entry, IN_FLIGHT)
                entry.attempts, entry.tried = entry.attempts + 1, now
                popped.append(entry)
        return popped

    def rejected(self, entry: QueuedPod, plugins: frozenset[str]) -> None:
        """No node fits: wait for an event."""
        if entry.place == IN_FLIGHT:
            entry.errors, entry.plugins = 0, plugins
            self._move(entry, UNSCHEDULABLE)
            self._unschedulable[entry.info.key] = entry

    def failed(self, entry: QueuedPod, now: float) -> None:
        """An attempt ended with an error: try again after a back-off."""
        entry.errors += 1
        if entry.place in (IN_FLIGHT, UNSCHEDULABLE):
            self._back_off(entry, now + error_backoff(entry.errors))

    def activate(self, helps: Callable[[QueuedPod], bool], now: float) -> int:
        """Retry the unschedulable pods which `helps` says may fit now, those tried often after a back-off; how many."""
        moved = [entry for entry in self._unschedulable.values() if helps(entry)]
        for entry in moved:
            self._retry(entry, now)
        return len(moved)

    def due(self, now: float) -> float | None:
        """Seconds until `pop` may return something without another call; None when it will not."""
        if self.counts[ACTIVE]:
            return 0.0
        self._drop_stale()
        times = [self._backoff[0][0]] if self._backoff else []
        first = self._longest_unschedulable()
        times += [first.tried + UNSCHEDULABLE_FOR] if first else []
        return max(min(times) - now, 0.0) if times else None

    def next_attempt(self, key: str, now: float) -> str:
        """When a pod is tried again, for users; empty for a pod that is not queued."""
        entry = self._pods.get(key)
        if entry is None:
            return ""
        if entry.place == BACKOFF:
            return f"next attempt in {max(entry.until - now, 0.0):.1f} s"
        return "next attempt when a change may help" if entry.place == UNSCHEDULABLE else "next attempt now"

    def _flush(self, now: float) -> None:
        self._drop_stale()
        while self._backoff and self._backoff[0][0] <= now:
            self._activate(heapq.heappop(self._backoff)[2])
            self._drop_stale()
        first = self._longest_unschedulable()
        if first is not None and first.tried + UNSCHEDULABLE_FOR <= now:
            for entry in [item for item in self._unschedulable.values() if item.tried + UNSCHEDULABLE_FOR <= now]:
                self._retry(entry, now)

    def _longest_unschedulable(self) -> QueuedPod | None:
        # Dictionaries keep the order of insertion, which is that of the attempts.
        return next(iter(self._unschedulable.values()), None)

    def _drop_stale(self) -> None:
        while self._backoff and self._backoff[0][2].place != BACKOFF:
            heapq.heappop(self._backoff)

    def _retry(self, entry: QueuedPod, now: float) -> None:
        until = entry.tried + backoff(entry.attempts)
        if until > now:
            self._back_off(entry, until)
        else:
            self._activate(entry)

    def _activate(self, entry: QueuedPod) -> None:
        self._move(entry, ACTIVE)
        self._entries += 1
        heapq.heappush(self._active, (entry.info.order, self._entries, entry))

    def _back_off(self, entry: QueuedPod, until: float) -> None:
        self._move(entry, BACKOFF)
        entry.until = until
        self._entries += 1
        heapq.heappush(self._backoff, (until, self._entries, entry))

    def _move(self, entry: QueuedPod, place: str) -> None:
        if entry.place == UNSCHEDULABLE:
            self._unschedulable.pop(entry.info.key, None)
        if entry.place:
            self.counts[entry.place] -= 1
        if place:
            self.counts[place] += 1
        entry.place = place
