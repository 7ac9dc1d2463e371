"""State by optimistic transactions over one backend, mirrored in memory.

`update(fn)` runs a plain function over the mirror, records what it read, and commits. When something it read has changed
meanwhile, the mirror catches up and the function runs again. Transactions that wait at the same time share one durable
commit. The mirror changes only through the backend's watch, so every reader sees one order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from controlplane.store.backend import Backend, Compacted, Txn, Write
from controlplane.store.mirror import HISTORY, Mirror
from controlplane.store.rows import Row
from controlplane.store.subscription import Subscription
from controlplane.store.tx import Tx
from pinnace.clock import Clock
from pinnace.errors import Conflict, Unavailable
from pinnace.kinds import Kind

T = TypeVar("T")
ROOT = "/registry/"
_SYNC_KEY = ROOT + "sync"
MAX_ATTEMPTS = 50
COMPACT_EVERY = 1_000
MAX_GROUP = 200


class Store:
    """Open with `await Store.open(backend, clock)`, run `serve()` in a task group, close at the end."""

    def __init__(self, backend: Backend, clock: Clock) -> None:
        self.backend = backend
        self.mirror = Mirror()
        self._clock = clock
        self._queue: asyncio.Queue[tuple[Txn, asyncio.Future[int | None]]] = asyncio.Queue(10_000)
        self._compacted = 0

    @classmethod
    async def open(cls, backend: Backend, clock: Clock) -> Store:
        """Raises Unavailable when the backend cannot be read."""
        store = cls(backend, clock)
        await store._reload()
        return store

    async def serve(self) -> None:
        """Follow the backend and commit transactions, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._commit_groups())

    async def close(self) -> None:
        await self.backend.close()

    # Reading

    @property
    def revision(self) -> int:
        return self.mirror.revision

    def row(self, kind: Kind, key: str) -> Row | None:
        return self.mirror.row(kind, key)

    def rows(self, kind: Kind, namespace: str = "") -> list[Row]:
        return self.mirror.rows(kind, namespace)

    def view(self, fn: Callable[[Tx], T]) -> T:
        """Run a function that only reads."""
        return fn(Tx(self.mirror))

    def get(self, kind: Kind, namespace: str, name: str) -> Any:
        """The object. Raises NotFound."""
        return Tx(self.mirror).require(kind, namespace, name)

    def view_and_watch(self, kind: Kind | None) -> tuple[list[Row], Subscription]:
        """What there is now, and the events after it."""
        return self.mirror.view_and_watch(kind)

    def watch_from(self, kind: Kind, after: int) -> Subscription:
        """Events after revision `after`, which another control plane may have reached before this one. Raises Expired
        when history does not reach back that far."""
        return self.mirror.watch_from(kind, after)

    async def sync(self) -> None:
        """After this, reads see everything that was committed before the call, by any control plane."""
        if not self.backend.exclusive:
            await self._submit(Txn((Write(_SYNC_KEY, b""),)))

    # Writing

    async def update(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` and commit what it wrote; `fn` may run several times. Returns what it returned.

        Raises whatever `fn` raises, Conflict when it never got through, Unavailable when the backend failed."""
        for _ in range(MAX_ATTEMPTS):
            tx = Tx(self.mirror)
            result = fn(tx)
            if not tx.wrote:
                return result
            revision = await self._submit(tx.txn())
            if revision is not None:
                tx.stamp(revision)
                return result
            await self.mirror.reached(tx.base + 1)
        raise Conflict(f"the objects changed {MAX_ATTEMPTS} times while this update was tried")

    async def _submit(self, txn: Txn) -> int | None:
        done: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        await self._queue.put((txn, done))
        revision = await done
        if revision is not None:
            await self.mirror.reached(revision)
        return revision

    async def _commit_groups(self) -> None:
        while True:
            group = [await self._queue.get()]
            while len(group) < MAX_GROUP and not self._queue.empty():
                group.append(self._queue.get_nowait())
            try:
                results = await self.backend.commit([txn for txn, _ in group])
            except Unavailable as error:
                for _, done in group:
                    if not done.done():
                        done.set_exception(Unavailable(error.message))
                continue
            for (_, done), revision in zip(group, results, strict=True):
                if not done.done():
                    done.set_result(revision)
            await self._compact()

    async def _compact(self) -> None:
        floor = self.revision - HISTORY
        if floor - self._compacted >= COMPACT_EVERY:
            try:
                await self.backend.compact(floor)
            except Unavailable:
                # After a later commit it is tried again.
                return
            self._compacted = floor

    # Following

    async def _reload(self) -> None:
        self.mirror.replace(await self.backend.load(ROOT))

    async def _follow(self) -> None:
        backoff, lost = 0.1, False
        while True:
            try:
                if lost:
                    await self._reload()
                    lost = False
                async for batch in self.backend.watch(ROOT, after=self.revision):
                    self.mirror.take(batch)
                    backoff = 0.1
            except Compacted:
                lost = True
            except Unavailable:
                pass
            await self._clock.sleep(backoff)
            backoff = min(backoff * 2, 5.0)
