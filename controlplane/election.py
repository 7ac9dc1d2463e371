"""Leader election by a Lease object, the same over every backend: of several control planes one schedules.

Source: the Lease based election of client-go. Time differences are measured on this process's own clock, so that
clocks which disagree cannot make two leaders.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from controlplane.store import Store, Tx
from pinnace import codec, kinds
from pinnace.clock import Clock
from pinnace.errors import ApiError

log = logging.getLogger("pinnace.election")
NAMESPACE, NAME = "kube-system", "pinnace-controlplane"
# Seconds: how long a silent leader keeps the lease, how long it tries to renew, how often.
DURATION, DEADLINE, PERIOD = 15.0, 10.0, 2.0


class Elector:
    def __init__(self, store: Store, clock: Clock, identity: str) -> None:
        self._store = store
        self._clock = clock
        self._identity = identity
        self._observed: tuple[str, float] = ("", 0.0)

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` while this process is the leader; campaign again when it is not."""
        while True:
            while not await self._try():
                await self._clock.sleep(PERIOD)
            log.info("leading identity=%s", self._identity)
            task = asyncio.ensure_future(work())
            try:
                await self._hold(task)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _hold(self, task: asyncio.Future[None]) -> None:
        renewed = self._clock.monotonic()
        while self._clock.monotonic() - renewed < DEADLINE:
            if task.done():
                task.result()
            await self._clock.sleep(PERIOD)
            if await self._try():
                renewed = self._clock.monotonic()
        log.warning("leadership_lost identity=%s", self._identity)

    async def _try(self) -> bool:
        try:
            return await self._store.update(self._take)
        except ApiError as error:
            log.warning("election_failed error=%s", error)
            return False

    def _take(self, tx: Tx) -> bool:
        now = self._clock.now()
        lease: Any = tx.get(kinds.LEASE, NAMESPACE, NAME)
        if lease is None:
            lease = kinds.LEASE.cls()
            lease.metadata.name, lease.metadata.namespace = NAME, NAMESPACE
        elif lease.spec.holderIdentity not in ("", self._identity) and not self._stale(lease):
            return False
        if lease.spec.holderIdentity != self._identity:
            lease.spec.leaseTransitions += 1
            lease.spec.acquireTime.CopyFrom(codec.microtime_of(now))
        lease.spec.holderIdentity = self._identity
        lease.spec.leaseDurationSeconds = int(DURATION)
        lease.spec.renewTime.CopyFrom(codec.microtime_of(now))
        tx.put(kinds.LEASE, lease)
        return True

    def _stale(self, lease: Any) -> bool:
        version = lease.metadata.resourceVersion
        if self._observed[0] != version:
            self._observed = (version, self._clock.monotonic())
        return self._clock.monotonic() - self._observed[1] > DURATION
