"""The scheduler, imported with the first pod that waits for a node.

With its plugins it takes 0.5 MB and 30 ms of a processor to import, and numpy comes with many nodes. A cluster without pods has
no use for it: neither while it starts, when its nodes could join in that time, nor while it idles. Hence neither this module
nor any that the control plane starts with imports it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from controlplane.store import Store, StoredObject
from pinnace import kinds
from pinnace.clock import Clock
from pinnace.errors import Expired

if TYPE_CHECKING:
    from controlplane.scheduler.service import Attempted, Explanation, Scheduler


class DeferredScheduler:
    def __init__(self, store: Store, clock: Clock, attempted: Attempted | None = None) -> None:
        """`attempted` is told of each attempt."""
        self._store = store
        self._attempted = attempted
        self._clock = clock
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
        """Return once a pod waits for a node."""
        while True:
            pods, watcher = self._store.view_and_watch(kinds.POD)
            try:
                if any(map(_waits, pods)):
                    return
                # They would be kept as they are now for as long as the watch lasts.
                del pods
                async for events in watcher:
                    if any(event.new is not None and _waits(event.new) for event in events):
                        return
            except Expired:
                # The watch fell behind: look again.
                continue
            finally:
                watcher.close()

    def _import(self) -> Scheduler:
        from controlplane.scheduler.service import Scheduler

        return Scheduler(self._store, self._clock, attempted=self._attempted)


def _waits(pod: StoredObject) -> bool:
    return not pod.message.spec.nodeName
