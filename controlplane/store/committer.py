"""Groups transactions that wait at the same time into commits of the backend, and compacts the history behind them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from controlplane.store.backend import Backend, Batch, Committed, Result, Txn
from pinnace.errors import ApiError, Internal, Unavailable

log = logging.getLogger("pinnace.store")
# The backend's history: enough for a watch that was interrupted, of this or another control plane. Batches, and bytes.
HISTORY = 5_000
HISTORY_SIZE = 32 << 20
# Batches, or bytes, beyond the history that are forgotten at once: few, because commits wait for it (SQLite: 4 ms).
COMPACT_EVERY, COMPACT_SIZE = 200, 2 << 20
_Waiting = tuple[Txn, asyncio.Future[Committed | None]]


class Committer:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(10_000)
        self._history: deque[tuple[int, int]] = deque()
        self._size = 0
        self._floor = self._forgotten = self._forgotten_size = 0
        self._compacting = False

    def begin(self, revision: int) -> None:
        """For a process that has the store to itself: history before `revision`, at which it began, serves no watcher, and is
        forgotten with the first commit."""
        self._floor, self._forgotten = revision - 1, COMPACT_EVERY

    async def commit(self, txn: Txn) -> Committed | None:
        """None for a conflict. Raises TooLarge, Unavailable."""
        done: asyncio.Future[Committed | None] = asyncio.get_running_loop().create_future()
        await self._queue.put((txn, done))
        return await done

    async def run(self) -> None:
        """Commit until cancelled."""
        limits = self._backend.limits
        if limits.commits == 1:
            while True:
                await self._commit(await self._group())
        slots = asyncio.Semaphore(limits.commits)
        async with asyncio.TaskGroup() as commits:
            while True:
                await slots.acquire()
                commits.create_task(self._commit(await self._group())).add_done_callback(lambda _: slots.release())

    async def _group(self) -> list[_Waiting]:
        group = [await self._queue.get()]
        while len(group) < self._backend.limits.group and not self._queue.empty():
            group.append(self._queue.get_nowait())
        return group

    async def _commit(self, group: list[_Waiting]) -> None:
        for (_, done), result in zip(group, await self._results([txn for txn, _ in group]), strict=True):
            if done.done():
                continue
            if isinstance(result, ApiError):
                done.set_exception(result)
            else:
                done.set_result(result)
        await self._compact()

    async def _results(self, txns: list[Txn]) -> list[Result]:
        try:
            return await self._backend.commit(txns)
        except Unavailable as error:
            return [Unavailable(error.message) for _ in txns]
        except Exception as error:
            log.exception("commit_failed transactions=%d", len(txns))
            return [Internal(f"the store failed: {error}") for _ in txns]

    def followed(self, batch: Batch) -> None:
        """Count a batch of the watch towards the history."""
        size = sum(len(change.value or b"") for change in batch.changes)
        self._history.append((batch.revision, size))
        self._size += size
        while len(self._history) > 1 and (len(self._history) > HISTORY or self._size > HISTORY_SIZE):
            self._floor, size = self._history.popleft()
            self._size -= size
            self._forgotten += 1
            self._forgotten_size += size

    async def _compact(self) -> None:
        due = self._forgotten >= COMPACT_EVERY or self._forgotten_size >= COMPACT_SIZE
        if not due or self._compacting:
            return
        self._compacting = True
        try:
            await self._backend.compact(self._floor + 1)
            self._forgotten = self._forgotten_size = 0
        except Unavailable:
            # After a later commit it is tried again.
            return
        finally:
            self._compacting = False
