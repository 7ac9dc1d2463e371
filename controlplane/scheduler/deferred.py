"""The scheduler, imported with the first pod, or once the control plane has led for a while.

numpy and what needs it take 0.12 s of a processor to import, a quarter of the control plane's imports. While a cluster starts,
that is time in which its nodes could join, and there is nothing to schedule. Hence neither this module nor any that the control
plane starts with imports them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from controlplane.store import Store
from pinnace import kinds
from pinnace.clock import Clock
from pinnace.errors import Expired

if TYPE_CHECKING:
    from controlplane.scheduler.service import Explanation, Scheduler

# Seconds in which the nodes of a new lab have joined, so that no user's first pod waits for the import.
HEAD_START = 1.0


class DeferredScheduler:
    def __init__(self, store: Store, clock: Clock, *, head_start: float = HEAD_START) -> None:
        self._store = store
        self._clock = clock
        self._head_start = head_start
        self._scheduler: Scheduler | None = None

    @property
    def imported(self) -> bool:
        return self._scheduler is not None

    def explain(self, namespace: str, name: str, uid: str) -> Explanation | None:
        """As Scheduler.explain."""
        if self._scheduler is None:
            return None
        return self._scheduler.explain(namespace, name, uid)

    async def run(self) -> None:
        """Schedule until cancelled."""
        if self._scheduler is None:
            await self._needed()
            # In a thread: meanwhile requests are answered.
            self._scheduler = await asyncio.to_thread(self._import)
        await self._scheduler.run()

    async def _needed(self) -> None:
        """Return once there is a pod, or after the head start."""
        pods, watcher = self._store.view_and_watch(kinds.POD)
        try:
            if not pods:
                async with asyncio.timeout(self._head_start):
                    await watcher.next()
        except (TimeoutError, Expired):
            pass
        finally:
            watcher.close()

    def _import(self) -> Scheduler:
        from controlplane.scheduler.service import Scheduler

        return Scheduler(self._store, self._clock)
