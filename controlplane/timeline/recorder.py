"""Follows the store and the scheduler, and has a thread write what they did. No write of an object ever waits for it.

The watch cache hands over each event once (`take`), which only queues it. A task turns queued events into records in short
slices and gives batches to the thread. When the disk is slow or full the queue fills up; what does not fit is counted, and the
timeline shows the gap.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import deque
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from controlplane import metrics
from controlplane.resources.registry import Registry
from controlplane.store import Event, Store
from controlplane.store.origin import Origin
from controlplane.timeline import records
from controlplane.timeline.log import Log
from controlplane.timeline.records import Attempt, Record, Type
from controlplane.timeline.thread import DaemonThread
from pinnace import kinds
from pinnace.clock import Clock, perf
from pinnace.errors import ApiError

log = logging.getLogger("pinnace.timeline")
# Events that wait, and bytes of their objects. The history of the store holds most of these objects too.
MAX_QUEUE, MAX_BYTES = 10_000, 16 << 20
# Records of one batch, and seconds of work in one turn of the event loop.
BATCH, SLICE = 500, 0.002
# Seconds in which events gather before they are written, after an error before the next try, and that the end waits.
LINGER, RETRY, LAST = 0.2, 5.0, 5.0
# Seconds between writes that record nothing but how far the file knows: heartbeats move the revision all the time.
MARK = 5.0


class _Queued(NamedTuple):
    """An event or an attempt, and when it came."""

    what: Event | Attempt
    origin: Origin | None
    seen: float


@dataclass(slots=True)
class _Lost:
    """What could not be recorded since the last batch: revisions above `before` up to `after`."""

    before: int = 0
    after: int = 0
    count: int = 0
    reason: str = ""

    def add(self, *, before: int, after: int, count: int, reason: str) -> None:
        self.before = min(self.before or before, before)
        self.after = max(self.after, after)
        self.count += count
        self.reason = reason


@dataclass(slots=True)
class _State:
    """Of the queue. `seen`: the revision of the newest event that was taken from it or dropped."""

    events: deque[_Queued] = field(default_factory=deque)
    size: int = 0
    seen: int = 0
    lost: _Lost = field(default_factory=_Lost)


class Recorder:
    def __init__(self, store: Store, clock: Clock, file: Log, *, fresh: bool = False) -> None:
        """Takes events from now on; `run` writes them. `fresh`: the file is of another state, and begins anew."""
        self._store = store
        self._registry = Registry.of(store)
        self._clock = clock
        self.file = file
        self._fresh = fresh
        self._thread = DaemonThread("timeline")
        self._state = _State(seen=store.revision)
        self._wake, self._urgent = asyncio.Event(), asyncio.Event()
        # Batches written, for readers that wait for what is queued.
        self._written = asyncio.Condition()
        self._taken = self._done = 0
        self._opened = False
        self._complaint = ""
        self._marked = 0.0
        store.cache.tap = self

    # What is told; none of it waits

    def take(self, event: Event, origin: Origin | None) -> None:
        size = len(event.row.value)
        if not self._has_room(size):
            self._drop(event.revision - 1, event.revision)
            return
        self._state.size += size
        self._put(_Queued(event, origin, self._clock.now()))

    def skip(self, before: int, after: int) -> None:
        if after > before:
            self._state.lost.add(before=before, after=after, count=0, reason="the control plane lost its watch of the store")
            self._wake.set()

    def attempt(self, attempt: Attempt) -> None:
        """An attempt of the scheduler."""
        if self._has_room(0):
            self._put(_Queued(attempt, None, self._clock.now()))
        else:
            self._drop(self._store.revision, self._store.revision)

    def _has_room(self, size: int) -> bool:
        return len(self._state.events) < MAX_QUEUE and self._state.size + size <= MAX_BYTES

    def _put(self, queued: _Queued) -> None:
        self._state.events.append(queued)
        self._taken += 1
        self._wake.set()

    def _drop(self, before: int, after: int) -> None:
        self._state.lost.add(before=before, after=after, count=1, reason="the disk did not keep up")
        metrics.timeline_dropped.inc()

    # Writing

    async def run(self) -> None:
        """Write until cancelled; then what is queued, for a moment."""
        try:
            await self._open()
            while True:
                await self._wake.wait()
                await self._clock.wait(self._urgent, LINGER)
                self._wake.clear()
                self._urgent.clear()
                await self._write_all()
        finally:
            await self._end()

    async def _open(self) -> None:
        start = self._state.seen
        while True:
            try:
                known = await self._thread.run(functools.partial(self.file.open, fresh=self._fresh))
                break
            except Exception as error:
                self._complain("timeline_not_opened", error)
                await self._clock.sleep(RETRY)
        self._fresh, self._opened = False, True
        if known and known < start:
            count = start - known if self._store.backend.exclusive else 0
            reason = "the control plane was not running"
            self._state.lost.add(before=known, after=start, count=count, reason=reason)
            self._wake.set()
        elif known > start:
            log.warning("timeline_ahead known=%d revision=%d", known, start)

    async def _write_all(self) -> None:
        while self._state.events or self._state.lost.after:
            batch, taken = await self._batch()
            try:
                if batch or self._clock.monotonic() - self._marked > MARK:
                    await self._append(batch)
            except Exception as error:
                # Whatever is wrong with a batch or the disk costs the batch, and not the control plane.
                await self._failed(batch, error)
            finally:
                await self._tell(taken)

    async def _append(self, batch: list[Record]) -> None:
        """Raises OSError, sqlite3.Error."""
        self._marked = self._clock.monotonic()
        await self._thread.run(functools.partial(self.file.append, batch, seen=self._state.seen, now=self._clock.now()))
        self._complaint = ""

    def _complain(self, event: str, error: Exception) -> None:
        """Once for each error until a write succeeds: it may last for days."""
        text = f"{type(error).__name__}: {error}"
        if text != self._complaint:
            self._complaint = text
            log.error("%s path=%s error=%s", event, self.file.path, text)

    async def _tell(self, taken: int) -> None:
        async with self._written:
            self._done += taken
            self._written.notify_all()

    async def _failed(self, batch: list[Record], error: Exception) -> None:
        self._complain("timeline_not_written", error)
        for record in batch:
            gap = record.type is Type.GAP
            before = record.body["before"] if gap else record.revision - 1
            count = record.body["count"] if gap else 1
            self._state.lost.add(before=before, after=record.revision, count=count, reason="the disk could not be written")
        metrics.timeline_dropped.inc(len(batch))
        await self._thread.run(self.file.reset)
        await self._clock.sleep(RETRY)

    async def _batch(self) -> tuple[list[Record], int]:
        """Records of the oldest events that wait, at most BATCH, and how many events those are."""
        state, out, taken = self._state, list[Record](), 0
        until = perf() + SLICE
        while state.events and taken < BATCH:
            queued = state.events.popleft()
            taken += 1
            record = self._record(queued)
            if record is not None:
                out.append(record)
            if perf() > until:
                await asyncio.sleep(0)
                until = perf() + SLICE
        if state.lost.after and not state.events:
            lost, state.lost = state.lost, _Lost()
            state.seen = max(state.seen, lost.after)
            out.append(records.gap(
                before=lost.before, after=lost.after, count=lost.count, time=self._clock.now(), reason=lost.reason
            ))  # fmt: skip
        return out, taken

    def _record(self, queued: _Queued) -> Record | None:
        what = queued.what
        if isinstance(what, Attempt):
            return records.of_attempt(kinds.POD, what, time=queued.seen, revision=self._state.seen)
        self._state.size -= len(what.row.value)
        self._state.seen = max(self._state.seen, what.revision)
        try:
            record = records.of_event(self._registry, what, queued.origin, seen=queued.seen)
        except Exception:
            # One object that cannot be read costs its own record.
            log.exception("timeline_record_failed key=%s revision=%d", what.row.key, what.revision)
            return None
        return record if record is None or record.type is not Type.EVENT else self._resolved(record)

    def _resolved(self, record: Record) -> Record:
        """An event that names its object without the uid, or by its name in the uid's place, gets the uid."""
        subject = record.subject
        if subject.uid not in (subject.name, records.made_up(subject.kind, subject.namespace, subject.name)):
            return record
        try:
            kind = self._registry.find(subject.api_version, subject.kind)
        except ApiError:
            return record
        row = self._store.row(kind, kind.key(subject.namespace, subject.name))
        uid = "" if row is None else row.message_once.metadata.uid
        return replace(record, subject=subject._replace(uid=uid, api_version=kind.api_version)) if uid else record

    # Reading

    async def flushed(self, seconds: float) -> bool:
        """Wait until what is queued now is written; False when that takes longer."""
        goal = self._taken
        self._urgent.set()
        try:
            async with asyncio.timeout(seconds), self._written:
                await self._written.wait_for(lambda: self._done >= goal)
        except TimeoutError:
            return False
        return True

    async def changed(self, seconds: float) -> None:
        """Wait for the next batch."""
        try:
            async with asyncio.timeout(seconds), self._written:
                await self._written.wait()
        except TimeoutError:
            pass

    async def _end(self) -> None:
        self._store.cache.tap = None
        try:
            async with asyncio.timeout(LAST):
                if not self._opened:
                    await self._open()
                await self._write_all()
                await self._append([])
                await self._thread.run(self.file.close)
        except Exception as error:
            log.warning("timeline_cut_off events=%d error=%r", len(self._state.events), error)
        self._thread.end()
