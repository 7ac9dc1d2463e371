"""The loop: look, decide, reclaim, and evict one pod at a time until enough is left.

One pod, because each eviction changes what the next should be: the loop waits until the pod's containers have ended
before it looks again. Everything that is decided is decided in `decide`, `rank` and `storage`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from nodeagent.eviction import signals, storage, usage, words
from nodeagent.eviction.decide import Observations, State, decide, is_met
from nodeagent.eviction.rank import Candidate, rank
from nodeagent.eviction.thresholds import DISK_PRESSURE, MEMORY_PRESSURE, PID_PRESSURE, Config, Threshold
from nodeagent.eviction.usage import Disk, Meter, Place, PodUse
from nodeagent.node.pools import Pool
from nodeagent.runtime.cgroups import Cgroups
from pinnace import codec, podresources
from pinnace.clock import Clock
from pinnace.core.v1 import node_pb2
from pinnace.podresources import MEMORY, STORAGE

log = logging.getLogger("pinnace.eviction")
CONDITIONS = (MEMORY_PRESSURE, DISK_PRESSURE, PID_PRESSURE)
# Seconds that an evicted pod has to be gone before the next look (kubelet's podCleanupTimeout), and between those looks.
CLEANED_WITHIN = 30.0
CLEANED_EVERY = 0.1
# Seconds for one call that measures the node, or a pod.
MEASURED_WITHIN = 60.0
# Seconds of walking disks in one look.
WALKED_WITHIN = 5.0

# Frees up to that many bytes of disk without ending a pod (images that nothing uses); returns how many it freed.
Reclaim = Callable[[int], Awaitable[int]]


class Evictable(Protocol):
    """A pod of this node, as its worker."""

    uid: str

    @property
    def pod(self) -> Any: ...

    def place(self) -> Place: ...

    def over(self) -> bool:
        """Whether nothing of it runs any more, and nothing will."""

    def evicted(self) -> bool:
        """Whether it was told to end for good, by this agent or an earlier one."""

    def cleaned(self) -> bool:
        """Whether none of its files are being deleted."""

    def evict(self, *, reason: str, message: str, grace: float, disruption: bool = True) -> None:
        """End it for good: containers have `grace` seconds. It keeps its status."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the loop needs of the node. `capacity` has the node's own amounts, where it is less than the machine."""

    pods: Callable[[], Iterable[Evictable]]
    cgroups: Cgroups
    clock: Clock
    state: Path
    images: Path
    capacity: Mapping[str, int]
    # Bytes of the images on the node, for one that has a capacity of its own.
    image_bytes: Callable[[], int]
    # About the node: reason, message, whether it is a warning.
    event: Callable[[str, str, bool], None]
    changed: Callable[[], None]
    reclaim: Reclaim
    # Threads for reading cgroups and walking trees.
    walks: Pool


class EvictionManager:
    def __init__(self, config: Config, around: Surroundings) -> None:
        self._config = config
        self._s = around
        self._state = State()
        self._since = dict.fromkeys(CONDITIONS, around.clock.now())
        # What was said since the conditions changed, so that a node that stays short of something says so once.
        self._said: set[str] = set()
        # Pods that were told to go: one that resists is not waited for again, the next follows.
        self._told: set[str] = set()
        self._meters: dict[str, Meter] = {}
        # Layers and volumes of each pod as they were measured last, and in which order pods were.
        self._stored: dict[str, tuple[dict[str, Disk], dict[str, Disk]]] = {}
        self._walked: dict[str, int] = {}
        self._walks = 0
        self.pressure: frozenset[str] = frozenset()

    def conditions(self) -> list[node_pb2.NodeCondition]:
        """The node's, for its status; the heartbeat is now."""
        found = []
        for type_ in CONDITIONS:
            holds = type_ in self.pressure
            reason, message = words.condition(type_, holds=holds)
            condition = node_pb2.NodeCondition(type=type_, status=str(holds), reason=reason, message=message)
            condition.lastTransitionTime.CopyFrom(codec.time_of(self._since[type_]))
            condition.lastHeartbeatTime.CopyFrom(codec.time_of(self._s.clock.now()))
            found.append(condition)
        return found

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                evicted = await self.look()
            except OSError as error:
                log.warning("eviction_look_failed error=%s", error)
                evicted = []
            if evicted:
                await self._cleaned(evicted)
            else:
                await self._s.clock.sleep(self._config.interval)

    async def look(self) -> list[Evictable]:
        """One look at the node; returns the pods that were evicted, also by an agent before this one."""
        pods = self._active()
        self._told &= {pod.uid for pod in pods}
        begun = [pod for pod in pods if pod.evicted() and pod.uid not in self._told]
        if begun:
            # They still hold what they are to give back: no other pod goes for it.
            self._told |= {pod.uid for pod in begun}
            return begun
        uses = await self._uses(pods, everything=STORAGE in self._s.capacity)
        observed = await self._observe(uses)
        decision = decide(self._config, self._state, observed, self._s.clock.now())
        self._state = decision.state
        self._set_conditions(decision.conditions)
        evicted = self._enforce_limits(pods, uses)
        if evicted or not decision.due:
            return evicted
        return await self._relieve(decision.due[0], observed)

    def _active(self) -> list[Evictable]:
        return [pod for pod in self._s.pods() if not pod.over()]

    async def _relieve(self, threshold: Threshold, observed: Observations) -> list[Evictable]:
        self._say("EvictionThresholdMet", f"Attempting to reclaim {threshold.resource}")
        on_disk = threshold.condition == DISK_PRESSURE
        if on_disk:
            found = observed[threshold.signal]
            missing = threshold.amount(found.capacity) + threshold.reclaim - found.available
            freed = await self._s.reclaim(missing)
            log.info("reclaimed signal=%s wanted=%d freed=%d", threshold.signal, missing, freed)
            observed = await self._observe(await self._uses(self._active(), everything=True))
            if not is_met(threshold, observed, reclaim=True):
                return []
        # Listed and measured after the node was: the pod that fills it may have started meanwhile.
        pods = self._active()
        return self._evict_first(threshold, pods, await self._uses(pods, everything=on_disk), observed)

    def _evict_first(
        self, threshold: Threshold, pods: list[Evictable], uses: Mapping[str, PodUse], observed: Observations
    ) -> list[Evictable]:
        by_uid = {pod.uid: pod for pod in pods if pod.uid not in self._told and not podresources.critical(pod.pod)}
        candidates = rank(threshold.resource, [_candidate(pod, uses[pod.uid]) for pod in by_uid.values()])
        if not candidates:
            self._say("EvictionThresholdMet", f"No pod is left to evict to reclaim {threshold.resource}")
            return []
        victim = by_uid[candidates[0].uid]
        message = words.low_on(threshold, observed, victim.pod, uses[victim.uid])
        asked = float(victim.pod.spec.terminationGracePeriodSeconds)
        grace = 0.0 if threshold.hard else min(asked, self._config.max_pod_grace)
        log.warning("evicting pod=%s signal=%s grace=%.0f", victim.uid, threshold.signal, grace)
        self._told.add(victim.uid)
        victim.evict(reason="Evicted", message=message, grace=grace)
        return [victim]

    def _enforce_limits(self, pods: list[Evictable], uses: Mapping[str, PodUse]) -> list[Evictable]:
        """Pods over their own limits of local storage go whatever the node has left, critical ones excepted."""
        evicted = []
        for pod in pods:
            message = "" if pod.uid in self._told else storage.exceeded(pod.pod, uses[pod.uid])
            if message and not podresources.critical(pod.pod):
                log.warning("evicting pod=%s reason=%s", pod.uid, message.strip())
                self._told.add(pod.uid)
                pod.evict(reason="Evicted", message=message, grace=0.0, disruption=False)
                evicted.append(pod)
        return evicted

    async def _uses(self, pods: list[Evictable], *, everything: bool) -> dict[str, PodUse]:
        """By uid. Disks are walked only for pods that have a limit there, unless everything is asked for."""
        places = [(pod.uid, pod.pod, pod.place()) for pod in pods]

        def memory() -> dict[str, PodUse]:
            return {uid: usage.memory_use(pod, place, self._s.cgroups) for uid, pod, place in places}

        found = await self._s.walks.run_within(MEASURED_WITHIN, memory)
        self._keep({uid for uid, _, _ in places})
        walked = [item for item in places if everything or _has_storage_limit(item[1])]
        await self._walk(walked)
        for uid, _, _ in walked:
            layers, volumes = self._stored.get(uid, ({}, {}))
            found[uid] = replace(found[uid], layers=layers, volumes=volumes)
        return found

    def _keep(self, uids: set[str]) -> None:
        """Forget what was measured of pods that are not there any more."""
        for known in (self._meters, self._stored, self._walked):
            for uid in known.keys() - uids:
                del known[uid]

    async def _walk(self, places: list[tuple[str, Any, Place]]) -> None:
        """Measure disks for WALKED_WITHIN seconds, those first that were not measured for longest: a pod whose disk takes long
        delays neither eviction by memory nor the look at others, which come first next time."""
        end = self._s.clock.monotonic() + WALKED_WITHIN
        for uid, pod, place in sorted(places, key=lambda item: self._walked.get(item[0], 0)):
            if self._s.clock.monotonic() >= end:
                return
            # One after the other: looking must not load the disk that may be the trouble.
            self._walks += 1
            self._walked[uid] = self._walks
            meter = self._meters.setdefault(uid, Meter())
            try:
                self._stored[uid] = await self._s.walks.of(uid).run_within(
                    MEASURED_WITHIN, self._measure, pod, place, meter, end
                )
            except TimeoutError as error:
                # The thread may have it still.
                log.warning("not_measured pod=%s error=%s", uid, error)
                self._meters.pop(uid, None)

    def _measure(self, pod: Any, place: Place, meter: Meter, end: float) -> tuple[dict[str, Disk], dict[str, Disk]]:
        meter.begin(lambda: self._s.clock.monotonic() >= end)
        return usage.storage_of(pod, place, meter)

    async def _observe(self, uses: Mapping[str, PodUse]) -> Observations:
        stored = sum(use.storage.used for use in uses.values()) + self._s.image_bytes()

        def measure() -> Observations:
            node = self._s.cgroups.usage("")
            return signals.measure(self._s.capacity, node, stored, state=self._s.state, images=self._s.images)

        return await self._s.walks.run_within(MEASURED_WITHIN, measure)

    def _set_conditions(self, conditions: frozenset[str]) -> None:
        changed = self.pressure ^ conditions
        self.pressure = conditions
        for type_ in sorted(changed):
            self._since[type_] = self._s.clock.now()
            holds = type_ in conditions
            self._s.event(words.condition_event(type_, holds=holds), words.condition(type_, holds=holds)[1], False)
        if changed:
            self._said.clear()
            self._s.changed()

    def _say(self, reason: str, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            log.warning("%s", message)
            self._s.event(reason, message, True)

    async def _cleaned(self, evicted: list[Evictable]) -> None:
        deadline = self._s.clock.monotonic() + CLEANED_WITHIN
        while not all(pod.over() and pod.cleaned() for pod in evicted) and self._s.clock.monotonic() < deadline:
            await self._s.clock.sleep(CLEANED_EVERY)


def _has_storage_limit(pod: Any) -> bool:
    if STORAGE in podresources.limits(pod.spec):
        return True
    return any(volume.volumeSource.emptyDir.sizeLimit.string for volume in pod.spec.volumes)


def _candidate(pod: Evictable, use: PodUse) -> Candidate:
    storage_ = use.storage
    used = {MEMORY: use.total.memory, "pids": use.total.pids, STORAGE: storage_.used, "inodes": storage_.inodes}
    return Candidate(pod.uid, pod.pod.spec.priority, used, podresources.requests(pod.pod.spec))
