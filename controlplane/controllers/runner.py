"""The only asynchronous part of the controllers: one shared watch, a keyed queue for each controller, back-off, yields.

A controller is level-triggered: it is given a key, never an event, and reconciles what it finds in the transaction. An
exception of any kind in a reconciliation belongs to its key: it is logged, counted and retried, and no other key waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from controlplane import metrics
from controlplane.controllers.watchedtime import WatchedTime
from controlplane.controllers.workqueue import WorkQueue
from controlplane.store import Event, StoredObject, Tx, Watcher, origin
from controlplane.turns import Turns
from pinnace import labclock
from pinnace.clock import Clock
from pinnace.errors import ApiError, Expired
from pinnace.kinds import Kind

T = TypeVar("T")
# `Moment.unasked`, now.
Unasked = Callable[[], float]
log = logging.getLogger("pinnace.controllers")
# Keys of one controller that are reconciled at once; those that write share a commit.
CONCURRENCY = 8
# Seconds until the watch is tried again after an unexpected error.
WATCH_RETRY = 1.0


@dataclass(frozen=True, slots=True)
class Requeue:
    """Reconcile the key again after `seconds`, or earlier when something changes."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Moment:
    """`wall`: seconds since the epoch, for what is written into objects. `watched`: seconds of observation (`watchedtime`),
    for every decision about lateness. `unasked`: those of them by which the clock was advanced and in which no agent has been
    asked for a sign of life yet."""

    wall: float
    watched: float
    unasked: float = 0.0


class Controller(Protocol):
    name: str
    # Kinds of which it sees the changes; empty: every kind.
    watches: tuple[Kind, ...]

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        """The keys that a change may concern. `view` is for reading and at least as new as the event; `watched`: when the
        event was observed, and so the time from which lateness counts.

        After a gap in the watch every object comes again, as created; what vanished in the gap does not come."""

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        """Bring the state behind `key` closer to what is wanted. Free of I/O; may run several times before it is committed."""


class ObservableStore(Protocol):
    """The part of a store that controllers need."""

    def view_and_watch(self, *wanted: Kind) -> tuple[Sequence[StoredObject], Watcher]: ...

    def view(self, fn: Callable[[Tx], T]) -> T: ...

    async def update(self, fn: Callable[[Tx], T]) -> T: ...


class ControllerManager:
    """Runs controllers over one watch."""

    def __init__(
        self, store: ObservableStore, clock: Clock, controllers: Sequence[Controller], *, unasked: Unasked = lambda: 0.0
    ) -> None:
        self._store = store
        self._clock = clock
        self._time = WatchedTime(clock.monotonic(), labclock.offset(clock))
        self._turns = Turns()
        self._by_kind: dict[Kind, list[Worker]] = {}
        self._workers = [
            Worker(store, clock, self._time, controller, turns=self._turns, unasked=unasked) for controller in controllers
        ]

    async def run(self) -> None:
        """Reconcile until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            for worker in self._workers:
                group.create_task(worker.run())

    async def _watch(self) -> None:
        while True:
            try:
                await self._follow()
            except Expired:
                log.warning("controllers_relisting")
            except Exception:
                log.exception("controllers_watch_failed")
                await self._clock.sleep(WATCH_RETRY)

    async def _follow(self) -> None:
        rows, watcher = self._store.view_and_watch()
        try:
            await self._enqueue(Event(None, row, row.revision) for row in rows)
            # It would keep every object as it was at the start for as long as the watch lasts.
            del rows
            async for events in watcher:
                await self._enqueue(events)
        finally:
            watcher.close()

    async def _enqueue(self, events: Iterable[Event]) -> None:
        view = self._store.view(_whole)
        for event in events:
            await self._turns.offer()
            watched = self._time.observe(self._clock.monotonic(), labclock.offset(self._clock))
            for worker in self._interested(event.row.kind):
                worker.enqueue(event, view, watched)

    def _interested(self, kind: Kind) -> list[Worker]:
        found = self._by_kind.get(kind)
        if found is None:
            found = self._by_kind[kind] = [worker for worker in self._workers if worker.watches(kind)]
        return found


class Worker:
    """One controller with its queue."""

    def __init__(
        self, store: ObservableStore, clock: Clock, time: WatchedTime, controller: Controller, *, turns: Turns | None = None,
        unasked: Unasked = lambda: 0.0,
    ) -> None:  # fmt: skip
        self._unasked = unasked
        self._store = store
        self._clock = clock
        self._time = time
        self._controller = controller
        self._turns = turns or Turns()
        self._queue = WorkQueue()
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._depth = metrics.workqueue_depth.labels(controller.name)

    def watches(self, kind: Kind) -> bool:
        return not self._controller.watches or kind in self._controller.watches

    def enqueue(self, event: Event, view: Tx, watched: float) -> None:
        """Add the keys that an event concerns."""
        try:
            for key in self._controller.keys(event, view, watched):
                self._queue.add(key)
        except Exception:
            # Whatever depends on this event alone is lost; the other controllers and events are not.
            log.exception("controller_keys_failed controller=%s object=%s", self._controller.name, event.row.key)
            metrics.reconciles.labels(self._controller.name, "error").inc()
        if len(self._queue):
            self._wake.set()

    async def run(self) -> None:
        """Reconcile up to CONCURRENCY keys at once, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._slots.acquire()
                group.create_task(self._process(await self._next()))

    async def _next(self) -> str:
        while (key := self._queue.get(self._clock.monotonic())) is None:
            self._wake.clear()
            due = self._queue.next_due()
            await self._clock.wait(self._wake, None if due is None else max(due - self._clock.monotonic(), 0.0))
        self._depth.set(len(self._queue))
        return key

    async def _process(self, key: str) -> None:
        try:
            await self._turns.offer()
            await self._reconcile(key)
        finally:
            self._queue.done(key)
            self._slots.release()
            self._wake.set()

    async def _reconcile(self, key: str) -> None:
        try:
            # One moment, however often the transaction is tried again.
            now = self._now()
            with origin.acting(f"controller:{self._controller.name}"):
                again = await self._store.update(lambda tx: self._controller.reconcile(tx, key, now))
        except Exception as error:
            self._fail(key, error)
            return
        self._queue.forgive(key)
        metrics.reconciles.labels(self._controller.name, "ok").inc()
        if again is not None:
            self._queue.add_at(key, self._clock.monotonic() + max(again.seconds, 0.0))

    def _fail(self, key: str, error: Exception) -> None:
        delay = self._queue.fail(key)
        # An ApiError explains itself; anything else is a defect, whose place is in the traceback.
        trace = None if isinstance(error, ApiError) else error
        text = "reconcile_failed controller=%s key=%s retry_in=%.2f error=%r"
        log.warning(text, self._controller.name, key, delay, error, exc_info=trace)
        metrics.reconciles.labels(self._controller.name, "error").inc()
        self._queue.add_at(key, self._clock.monotonic() + delay)

    def _now(self) -> Moment:
        watched = self._time.at(self._clock.monotonic(), labclock.offset(self._clock))
        return Moment(self._clock.now(), watched, self._unasked())


def _whole(tx: Tx) -> Tx:
    return tx
