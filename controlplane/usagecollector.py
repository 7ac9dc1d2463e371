"""Measures the pods of autoscaled workloads, for the controller that cannot wait for agents (`controlplane.podusage`).

It runs where the controller runs, and does nothing while there is no HorizontalPodAutoscaler. In each period it asks the
nodes of their pods once, over the streams that agents have open, and shares these answers with the clients of metrics.k8s.io;
a new autoscaler is measured at once. Cost: one request for each such node, and some 300 bytes for each of the pods.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from controlplane.controllers import autoscaledpods
from controlplane.controllers.runner import ObservableStore
from controlplane.podusage import PodUsage, PodUse
from controlplane.store import Event, Tx
from controlplane.turns import Turns
from pinnace import kinds, usage
from pinnace.clock import Clock
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.errors import Expired
from pinnace.usage import Sample

log = logging.getLogger("pinnace.controlplane")
# Seconds between two rounds at least, however many autoscalers are created meanwhile.
SHORTEST = 1.0
# Seconds until the watch is tried again after an error.
RETRY = 1.0


class Sampler(Protocol):
    async def of(self, nodes: Iterable[str]) -> dict[str, Sample]:
        """What nodes have measured, by node, within a deadline; nodes that do not answer are left out."""


class UsageCollector:
    def __init__(self, store: ObservableStore, sampler: Sampler, found: PodUsage, clock: Clock, *, period: float) -> None:
        """`found` is where the results go; `period` in seconds."""
        self._store = store
        self._sampler = sampler
        self._found = found
        self._clock = clock
        self._period = period
        self._turns = Turns()
        self._keys: set[str] = set()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Measure until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._collect())

    async def _watch(self) -> None:
        while True:
            try:
                await self._follow()
            except Expired:
                log.warning("usage_relisting")
            except Exception:
                log.exception("usage_watch_failed")
                await self._clock.sleep(RETRY)

    async def _follow(self) -> None:
        """Know which autoscalers there are, and wake the other task for a new one."""
        rows, watcher = self._store.view_and_watch(kinds.HORIZONTAL_POD_AUTOSCALER)
        try:
            self._keys.clear()
            self._observe([Event(None, row, row.revision) for row in rows])
            async for events in watcher:
                self._observe(events)
        finally:
            watcher.close()

    def _observe(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.new is None:
                self._keys.discard(event.row.key)
            elif event.row.key not in self._keys:
                self._keys.add(event.row.key)
                self._wake.set()
        if not self._keys:
            self._forget()

    def _forget(self) -> None:
        self._found.pods, self._found.covered = {}, frozenset()

    async def _collect(self) -> None:
        while True:
            await self._clock.wait(self._wake, max(self._period - SHORTEST, 0.0) if self._keys else None)
            self._wake.clear()
            try:
                await self._round()
            except Exception:
                # Old numbers would be taken for present ones.
                self._forget()
                log.exception("usage_round_failed")
            await self._clock.sleep(SHORTEST)

    async def _round(self) -> None:
        """Measure the pods of every autoscaler, and replace what was measured before."""
        covered, pods = set[str](), dict[str, Pod]()
        view = self._store.view(_whole)
        for row in tuple(view.list_untracked(kinds.HORIZONTAL_POD_AUTOSCALER)):
            await self._turns.offer()
            covered.add(row.message.metadata.uid)
            for pod in autoscaledpods.pods_of(view, row.message):
                if pod.spec.nodeName and pod.status.phase == "Running":
                    pods[pod.metadata.uid] = pod
        nodes = {pod.spec.nodeName for pod in pods.values()}
        samples = await self._sampler.of(nodes) if nodes else {}
        self._found.pods = _uses(tuple(pods.values()), samples)
        self._found.covered = frozenset(covered)


def _whole(tx: Tx) -> Tx:
    return tx


def _uses(pods: Sequence[Pod], samples: Mapping[str, Sample]) -> dict[str, PodUse]:
    """By UID, without pods that their node has not measured."""
    found = {}
    for pod in pods:
        sample = samples.get(pod.spec.nodeName)
        stats = sample.pods.get((pod.metadata.namespace, pod.metadata.name)) if sample is not None else None
        if sample is not None and stats is not None and stats.uid == pod.metadata.uid and stats.containers:
            containers = {container.name: usage.of(container) for container in stats.containers}
            found[pod.metadata.uid] = PodUse(sample.stats.timeNanos / 1e9, sample.window / 1e9, containers)
    return found
