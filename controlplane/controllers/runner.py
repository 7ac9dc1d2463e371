"""The only asynchronous part of the controllers: keyed queue, deduplication, backoff.

A controller is level-triggered: it is given a key, never an event, and reconciles what it finds in the transaction.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from controlplane import metrics
from controlplane.store import Event, Store, Tx
from pinnace.clock import Clock
from pinnace.errors import ApiError, Expired

log = logging.getLogger("pinnace.controllers")
FIRST_BACKOFF = 0.05
MAX_BACKOFF = 30.0
# How long an idle worker sleeps when nothing is due, in seconds; a change wakes it.
IDLE = 300.0


@dataclass(frozen=True, slots=True)
class Requeue:
    """Look again after `seconds`."""

    seconds: float


class Controller(Protocol):
    name: str

    def keys(self, event: Event) -> Iterable[str]:
        """The keys that a change may concern."""

    def reconcile(self, tx: Tx, key: str, now: float) -> Requeue | None:
        """Bring the world behind `key` closer to what is wanted. Pure of I/O; may run several times."""


class Runner:
    def __init__(self, store: Store, clock: Clock, controller: Controller) -> None:
        self._store = store
        self._clock = clock
        self._controller = controller
        self._due: list[tuple[float, str]] = []
        self._when: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Reconcile until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._work())

    async def _watch(self) -> None:
        while True:
            rows, subscription = self._store.view_and_watch(None)
            try:
                for row in rows:
                    self._enqueue(self._controller.keys(Event(None, row, row.revision)))
                async for events in subscription:
                    for event in events:
                        self._enqueue(self._controller.keys(event))
            except Expired:
                log.warning("controller_relisting name=%s", self._controller.name)
            finally:
                subscription.close()

    def _enqueue(self, keys: Iterable[str], delay: float = 0.0) -> None:
        due = self._clock.monotonic() + delay
        for key in keys:
            if due < self._when.get(key, float("inf")):
                self._when[key] = due
                heapq.heappush(self._due, (due, key))
                self._wake.set()

    async def _work(self) -> None:
        while True:
            key = self._next()
            if key is not None:
                await self._reconcile(key)
            else:
                await self._idle()

    def _next(self) -> str | None:
        while self._due and self._due[0][0] <= self._clock.monotonic():
            due, key = heapq.heappop(self._due)
            # An entry that a sooner one has overtaken is stale.
            if self._when.get(key) == due:
                del self._when[key]
                return key
        return None

    async def _idle(self) -> None:
        self._wake.clear()
        delay = self._due[0][0] - self._clock.monotonic() if self._due else IDLE
        waits = [asyncio.ensure_future(self._wake.wait()), asyncio.ensure_future(self._clock.sleep(max(delay, 0)))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _reconcile(self, key: str) -> None:
        try:
            again = await self._store.update(lambda tx: self._controller.reconcile(tx, key, self._clock.now()))
        except ApiError as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            log.warning("reconcile_failed controller=%s key=%s error=%s", self._controller.name, key, error)
            metrics.reconciles.labels(self._controller.name, "error").inc()
            self._enqueue([key], min(FIRST_BACKOFF * 2**failures, MAX_BACKOFF))
            return
        self._failures.pop(key, None)
        metrics.reconciles.labels(self._controller.name, "ok").inc()
        if again is not None:
            self._enqueue([key], again.seconds)
