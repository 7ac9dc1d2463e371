"""Leader election by a Lease object, the same over every backend: one control plane runs the scheduler and the controllers.

Two control planes never work at once. The leader works until DEADLINE after it *sent* the last renewal that it knows to have
succeeded; another takes the lease DURATION after it *observed* the last change of it, which is later than that. Both intervals
are monotonic time of one machine each, so neither skew nor steps of clocks matter; between them lie the seconds in which the
work must stop. A leader that is frozen past its deadline can still resume in the middle of its work: so each of its
transactions also compares the lease (`FencedStore`), and fails once another holds it.

Source: the Lease based election of client-go.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from controlplane import metrics
from controlplane.store import Store, Tx, origin
from pinnace import codec, kinds
from pinnace.clock import Clock
from pinnace.coordination.v1.lease_pb2 import Lease
from pinnace.errors import ApiError, Unavailable
from pinnace.wellknown import LEADER_LEASE, SYSTEM_NAMESPACE

T = TypeVar("T")
log = logging.getLogger("pinnace.election")
# Seconds: until others take a lease that does not change; until a leader that cannot renew stops; between renewals.
DURATION, DEADLINE, PERIOD = 15.0, 10.0, 2.0
# Seconds for one attempt to take or renew the lease: two fit into DEADLINE.
ATTEMPT = 4.0
# Seconds that the work has to stop after DEADLINE; half of what is left before others begin.
STOP = (DURATION - DEADLINE) / 2
# Seconds for the release of the lease on shutdown.
RELEASE = 2.0


class NotLeading(Unavailable):
    """This control plane does not lead, or no longer."""


class Attempt(enum.Enum):
    HELD = enum.auto()
    # Another control plane holds the lease.
    TAKEN = enum.auto()
    # The outcome is unknown.
    FAILED = enum.auto()


class Elector:
    """A candidate. `store` is for the work of a leader: its updates fail when this one does not lead."""

    def __init__(self, store: Store, clock: Clock, identity: str) -> None:
        self._store = store
        self._clock = clock
        self._identity = identity
        # Version of the lease and when it was first seen, monotonic.
        self._observed: tuple[str, float] = ("", 0.0)
        self._valid_until = float("-inf")
        self._working = False
        self.store = FencedStore(store, self)

    @property
    def leading(self) -> bool:
        return self._clock.monotonic() < self._valid_until

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` while this process is the leader, again and again, until cancelled; then release the lease.

        Raises what `work` raises, and RuntimeError when it does not stop in time."""
        try:
            with origin.acting("election"):
                while True:
                    await self._campaign()
                    log.info("leading identity=%s", self._identity)
                    await self._hold(asyncio.ensure_future(work()))
        finally:
            self._lose()
            # Work that does not stop keeps the lease from others until the process has ended.
            if not self._working:
                await self._release()

    async def _campaign(self) -> None:
        while await self._attempt(ATTEMPT) is not Attempt.HELD:
            await self._clock.sleep(PERIOD)

    async def _hold(self, task: asyncio.Future[None]) -> None:
        self._working = True
        metrics.leading.set(1)
        try:
            while self.leading:
                if await self._ends(task, min(PERIOD, self._left())):
                    return task.result()
                if await self._attempt(min(ATTEMPT, self._left())) is Attempt.TAKEN:
                    break
            log.warning("leadership_lost identity=%s", self._identity)
        finally:
            self._lose()
            await self._stop(task)

    def _lose(self) -> None:
        self._valid_until = float("-inf")
        metrics.leading.set(0)

    def _left(self) -> float:
        return max(self._valid_until - self._clock.monotonic(), 0.0)

    async def _stop(self, task: asyncio.Future[None]) -> None:
        task.cancel()
        if not await self._ends(task, STOP):
            raise RuntimeError(f"the leader's work has not stopped within {STOP} seconds of its cancellation")
        self._working = False
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("leader_work_failed", exc_info=error)

    async def _ends(self, task: asyncio.Future[T], seconds: float) -> bool:
        """Wait for the end of the task, up to `seconds`; whether it has ended."""
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((task, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        return task.done()

    async def _attempt(self, seconds: float) -> Attempt:
        # Before it is sent: others count from when they see it, which is later.
        sent = self._clock.monotonic()
        result = await self._within(seconds, self._take)
        if result is Attempt.HELD:
            self._valid_until = sent + DEADLINE
        return result

    async def _within(self, seconds: float, fn: Callable[[Tx], Attempt]) -> Attempt:
        """Run a transaction; FAILED when it has no answer within `seconds`. It may still be committed later."""
        task = asyncio.ensure_future(self._store.update(fn))
        try:
            if not await self._ends(task, seconds):
                log.warning("election_failed error=no answer within %.1f s", seconds)
                return Attempt.FAILED
            return task.result()
        except ApiError as error:
            log.warning("election_failed error=%s", error)
            return Attempt.FAILED
        finally:
            task.cancel()

    def _take(self, tx: Tx) -> Attempt:
        now = self._clock.now()
        lease = tx.get(kinds.LEASE, SYSTEM_NAMESPACE, LEADER_LEASE)
        if lease is None:
            lease = Lease()
            lease.metadata.name, lease.metadata.namespace = LEADER_LEASE, SYSTEM_NAMESPACE
            lease.metadata.creationTimestamp.CopyFrom(codec.time_of(now))
        elif lease.spec.holderIdentity not in ("", self._identity) and not self._stale(lease):
            return Attempt.TAKEN
        if lease.spec.holderIdentity != self._identity:
            lease.spec.leaseTransitions += 1
            lease.spec.acquireTime.CopyFrom(codec.microtime_of(now))
        lease.spec.holderIdentity = self._identity
        lease.spec.leaseDurationSeconds = int(DURATION)
        lease.spec.renewTime.CopyFrom(codec.microtime_of(now))
        tx.put(kinds.LEASE, lease)
        return Attempt.HELD

    def _stale(self, lease: Lease) -> bool:
        # Where only one process can have the state open, the holder has exited.
        if self._store.backend.exclusive:
            return True
        version = lease.metadata.resourceVersion
        if self._observed[0] != version:
            self._observed = (version, self._clock.monotonic())
        return self._clock.monotonic() - self._observed[1] > DURATION

    async def _release(self) -> None:
        """Let another control plane lead at once."""
        if await self._within(RELEASE, self._give_up) is Attempt.HELD:
            log.info("lease_released identity=%s", self._identity)

    def _give_up(self, tx: Tx) -> Attempt:
        lease = tx.get(kinds.LEASE, SYSTEM_NAMESPACE, LEADER_LEASE)
        if lease is None or lease.spec.holderIdentity != self._identity:
            return Attempt.TAKEN
        lease.spec.holderIdentity = ""
        lease.spec.leaseDurationSeconds = 1
        lease.spec.renewTime.CopyFrom(codec.microtime_of(self._clock.now()))
        tx.put(kinds.LEASE, lease)
        return Attempt.HELD

    def verify(self, tx: Tx) -> None:
        """Make the transaction fail once another holds the lease. Raises NotLeading."""
        lease = tx.get(kinds.LEASE, SYSTEM_NAMESPACE, LEADER_LEASE)
        if not self.leading or lease is None or lease.spec.holderIdentity != self._identity:
            raise NotLeading("this control plane does not lead")


class FencedStore(Store):
    """The store as the work of a leader sees it: the same one, whose updates fail when this control plane does not lead."""

    def __init__(self, store: Store, elector: Elector) -> None:
        # A view: it shares all that the store consists of, and is neither served nor closed.
        self.__dict__.update(store.__dict__)
        self._elector = elector

    async def update(self, fn: Callable[[Tx], T]) -> T:
        """As Store.update. Raises NotLeading too."""

        def fenced(tx: Tx) -> T:
            result = fn(tx)
            if tx.wrote:
                self._elector.verify(tx)
            return result

        return await super().update(fenced)
