"""The scheduler's loop: watch pods and nodes, place what waits in one batch, commit it in one transaction.

Only this file of the scheduler awaits. What it decided last for each pod stays here for `kctl why`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Any

from controlplane import conditions, events, metrics
from controlplane.scheduler import podinfo, table
from controlplane.scheduler.placement import Decision, place
from controlplane.scheduler.podinfo import PodInfo
from controlplane.store import Event, Row, Store, Tx
from pinnace import kinds
from pinnace.clock import Clock, perf
from pinnace.errors import ApiError, Expired

log = logging.getLogger("pinnace.scheduler")
NAME = "default-scheduler"
MAX_BATCH = 500
# Decisions in one transaction: each is two writes and three reads, and etcd takes 128 of either.
MAX_COMMIT = 40
# Unschedulable pods are tried again when something changes, and this often in any case, in seconds.
RETRY_EVERY = 30.0


class Scheduler:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._nodes: dict[str, Row] = {}
        self._placed: dict[str, PodInfo] = {}
        self._waiting: dict[str, PodInfo] = {}
        # Tried and refused; they wait for a change that could help.
        self._refused: dict[str, PodInfo] = {}
        self._attempts: dict[str, int] = {}
        self.decisions: dict[str, Decision] = {}

    def attempts(self, uid: str) -> int:
        return self._attempts.get(uid, 0)

    async def run(self) -> None:
        """Schedule until cancelled."""
        while True:
            try:
                await self._follow()
            except Expired:
                log.warning("scheduler_relisting")

    async def _follow(self) -> None:
        for known in (self._nodes, self._placed, self._waiting, self._refused):
            known.clear()
        rows, pods = self._store.view_and_watch(kinds.POD)
        node_rows, nodes = self._store.view_and_watch(kinds.NODE)
        try:
            self._note([Event(None, row, row.revision) for row in [*rows, *node_rows]])
            while True:
                if self._waiting:
                    await self._cycle()
                await self._wait(pods, nodes)
        finally:
            pods.close()
            nodes.close()

    async def _wait(self, *subscriptions: Any) -> None:
        """Take in what changed on any subscription; after RETRY_EVERY without change, try the refused again.

        Does not wait while pods do: a commit failed, or there were more than one batch."""
        tasks = [asyncio.ensure_future(subscription.next()) for subscription in subscriptions]
        tick = asyncio.ensure_future(self._clock.sleep(0.0 if self._waiting else RETRY_EVERY))
        try:
            done, _ = await asyncio.wait([*tasks, tick], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task in done:
                    self._note(task.result())
            if tick in done and not self._waiting:
                self._retry()
        finally:
            for pending in (*tasks, tick):
                pending.cancel()

    def _note(self, changes: list[Event]) -> None:
        for event in changes:
            if event.row.kind is kinds.NODE:
                self._note_node(event)
            else:
                self._note_pod(event)

    def _note_node(self, event: Event) -> None:
        key = event.row.key
        if event.new is None:
            self._nodes.pop(key, None)
        else:
            self._nodes[key] = event.new
        self._retry()

    def _note_pod(self, event: Event) -> None:
        key = event.row.key
        old = self._placed.pop(key, None)
        self._waiting.pop(key, None)
        self._refused.pop(key, None) if event.new is None else None
        pod = event.new.parse() if event.new is not None else None
        if pod is None or pod.status.phase in ("Succeeded", "Failed"):
            self._forget(key, event)
            if old is not None:
                self._retry()
            return
        info = podinfo.read(pod)
        if info.node:
            self._placed[key] = info
            self._refused.pop(key, None)
        elif pod.spec.schedulerName not in ("", NAME) or pod.metadata.deletionTimestamp.seconds:
            self._refused.pop(key, None)
        elif self._refused.get(key) != info:
            # New, or changed in what placement looks at; our own word on its status is no reason to try again.
            self._refused.pop(key, None)
            self._waiting[key] = info

    def _forget(self, key: str, event: Event) -> None:
        if event.new is None:
            gone = self.decisions.pop(key, None)
            if gone is not None:
                self._attempts.pop(gone.pod.uid, None)

    def _retry(self) -> None:
        self._waiting.update(self._refused)
        self._refused.clear()

    async def _cycle(self) -> None:
        start = perf()
        batch = dict(sorted(self._waiting.items(), key=lambda item: -item[1].priority)[:MAX_BATCH])
        nodes = table.build([row.parse() for row in self._nodes.values()], list(self._placed.values()))
        keys = {info.key: key for key, info in batch.items()}
        decisions = place(list(batch.values()), nodes)
        for decision in decisions:
            self.decisions[keys[decision.pod.key]] = decision
            self._attempts[decision.pod.uid] = self._attempts.get(decision.pod.uid, 0) + 1
        try:
            for start in range(0, len(decisions), MAX_COMMIT):
                part = decisions[start : start + MAX_COMMIT]
                await self._store.update(functools.partial(self._commit, decisions=part))
        except ApiError as error:
            log.warning("scheduling_failed pods=%d error=%s", len(batch), error)
            await self._clock.sleep(0.2)
            return
        for decision in decisions:
            key = keys[decision.pod.key]
            self._waiting.pop(key, None)
            if decision.node:
                # Counted at once; the watch confirms it later.
                self._placed[key] = podinfo.PodInfo(
                    **{f: getattr(decision.pod, f) for f in decision.pod.__slots__} | {"node": decision.node}
                )
            else:
                self._refused[key] = decision.pod
        metrics.bound.inc(sum(1 for decision in decisions if decision.node))
        metrics.pending.set(len(self._refused))
        metrics.scheduling.observe(perf() - start)

    def _commit(self, tx: Tx, decisions: list[Decision]) -> None:
        now = self._clock.now()
        for decision in decisions:
            namespace, _, name = decision.pod.key.partition("/")
            pod = tx.get(kinds.POD, namespace, name)
            if pod is None or pod.metadata.uid != decision.pod.uid or pod.spec.nodeName:
                continue
            if decision.node:
                pod.spec.nodeName = decision.node
                conditions.put(pod.status, "PodScheduled", "True", now=now)
                text = f"Successfully assigned {decision.pod.key} to {decision.node}"
                events.record(tx, pod, "Scheduled", text, source=NAME, now=now)
            else:
                changed = conditions.put(
                    pod.status, "PodScheduled", "False", now=now, reason="Unschedulable", message=decision.message
                )
                events.record(tx, pod, "FailedScheduling", decision.message, source=NAME, now=now, warning=True)
                if not changed:
                    continue
            tx.put(kinds.POD, pod)
