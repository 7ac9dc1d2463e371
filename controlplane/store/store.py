"""State by optimistic transactions over one backend, cached in memory.

`update(fn)` runs a plain function over the watch cache, records what it read, and commits. When something it read has changed
meanwhile, the cache catches up and the function runs again. The cache changes only through the backend's watch, so every
reader sees one order.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from controlplane.store import origin as origins
from controlplane.store.backend import Backend, Compacted, Quarantine
from controlplane.store.committer import Committer
from controlplane.store.current import SharedRead
from controlplane.store.damage import MAX_DAMAGED, Damage
from controlplane.store.listing import Page, Query, first_page, next_page
from controlplane.store.objects import StoredObject
from controlplane.store.tx import Tx
from controlplane.store.watchcache import WatchCache
from controlplane.store.watcher import Watcher
from controlplane.turns import Turns
from pinnace.clock import Clock
from pinnace.errors import ApiError, Conflict, Expired, Unavailable
from pinnace.kinds import ALL, Kind, Kinds

log = logging.getLogger("pinnace.store")
T = TypeVar("T")
M = TypeVar("M")
K = TypeVar("K")
ROOT = "/registry/"
MAX_ATTEMPTS = 50
# Seconds between attempts to follow the backend again. Writers wait for ten.
MAX_BACKOFF = 2.0
# Transactions of one `update_each` that run at once.
MAX_TOGETHER = 500


class Store:
    """Open with `await Store.open(backend, clock)`, run `serve()` in a task group, close at the end."""

    def __init__(self, backend: Backend, clock: Clock, kinds: Kinds) -> None:
        self.backend = backend
        self.cache = WatchCache(kinds)
        self._clock = clock
        self._committer = Committer(backend)
        self._current = SharedRead(backend.current)

    @classmethod
    async def open(cls, backend: Backend, clock: Clock, kinds: Kinds | None = None) -> Store:
        """`kinds` are those that it serves, by default the built-in ones.

        Raises Unavailable when the backend cannot be read."""
        store = cls(backend, clock, Kinds(ALL) if kinds is None else kinds)
        await store._reload()
        if backend.exclusive:
            store._committer.begin(store.revision)
        return store

    async def serve(self) -> None:
        """Follow the backend and commit transactions, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._committer.run())

    async def close(self) -> None:
        await self.backend.close()

    # Reading

    @property
    def kinds(self) -> Kinds:
        """The kinds that are served now."""
        return self.cache.kinds

    @property
    def revision(self) -> int:
        return self.cache.revision

    def row(self, kind: Kind, key: str) -> StoredObject | None:
        return self.cache.row(kind, key)

    def rows(self, kind: Kind, namespace: str = "") -> list[StoredObject]:
        return self.cache.rows(kind, namespace)

    def rows_by(self, kind: Kind, index: str, value: str) -> list[StoredObject]:
        """Objects of a kind whose index has this value, in order of key. The resource declares its indexes; raises KeyError for
        another one."""
        return self.cache.rows_by(kind, index, value)

    def view(self, fn: Callable[[Tx], T]) -> T:
        """Run a function that only reads."""
        return fn(Tx(self.cache, self.backend.limits))

    def get(self, kind: Kind[M], namespace: str, name: str) -> M:
        """The object. Raises NotFound."""
        return Tx(self.cache, self.backend.limits).require(kind, namespace, name)

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Keys of the objects that are damaged. Creating one anew replaces it."""
        return tuple(self.cache.unreadable)

    async def damage(self) -> Damage:
        """The objects that are in the store and are not served. Those that were quarantined and made anew are not among them.
        Raises Unavailable."""
        quarantined, file = list[str](), ""
        if isinstance(self.backend, Quarantine):
            quarantined, file = await self.backend.quarantined_keys(MAX_DAMAGED + 1), self.backend.quarantine_file
        return Damage.of(quarantined, file, self.cache)

    @property
    def watchers(self) -> int:
        return len(self.cache.current_watchers())

    def view_and_watch(self, *wanted: Kind) -> tuple[list[StoredObject], Watcher]:
        """The objects now and the events after them, in one order, of these kinds, or of every kind without any."""
        return self.cache.view_and_watch(*wanted)

    async def watch_from(self, kind: Kind, after: int) -> Watcher:
        """Events after revision `after`, which another control plane may have reached before this one. Raises Expired when
        history does not reach back that far, or no control plane has reached it: the state is another one."""
        if after > self.revision:
            await self.sync()
        if after > self.revision:
            raise Expired(f"resource version {after} lies in the future ({self.revision}): the store was restored or replaced")
        return self.cache.watch_from(kind, after)

    async def page(self, query: Query, token: str = "", *, revision: int = 0, stale: bool = False) -> Page:
        """A page of a list: of everything committed before the call, or as things were at `revision`, or with the token of a
        page the one after it. `stale`: what this process has seen will do.

        Raises BadRequest for a token that is none, Expired when history does not reach back: list again."""
        # A token or a revision may be of a control plane that is ahead of this one.
        if not stale:
            await self.sync()
        if token:
            return await next_page(self.cache, query, token)
        return await first_page(self.cache, query, revision)

    async def sync(self) -> None:
        """After this, reads see everything that was committed before the call, by any control plane. Writes nothing."""
        if not self.backend.exclusive:
            await self.cache.reached(await self._current.read())

    # Writing

    async def update(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` and commit what it wrote; `fn` may run several times. Returns what it returned.

        Raises whatever `fn` raises, Conflict when it never got through, TooLarge when it wrote more than one transaction
        takes, Unavailable when the backend failed."""
        for _ in range(MAX_ATTEMPTS):
            tx = Tx(self.cache, self.backend.limits)
            result = fn(tx)
            if not tx.wrote:
                return result
            txn = tx.txn(origins.present(self._clock.now()))
            committed = await self._committer.commit(txn)
            if committed is not None:
                await self.cache.reached(max(committed.revisions, default=0))
                tx.stamp(txn, committed)
                return result
            await self._catch_up(tx.base)
        raise Conflict(f"the objects changed {MAX_ATTEMPTS} times while this update was tried")

    async def _catch_up(self, base: int) -> None:
        """Until the cache shows what a transaction decided at revision `base` conflicted with."""
        if self.backend.exclusive:
            await self.cache.reached(base + 1)
        else:
            await self.sync()

    async def update_each(self, items: Iterable[K], fn: Callable[[Tx, K], T]) -> list[T | ApiError]:
        """Run `fn` for each item in a transaction of its own, so that none fails another and no size is too large; they share
        durable commits. One result for each, in order: what `fn` returned, or the error of its transaction."""
        every, results = list(items), list[T | ApiError]()
        for start in range(0, len(every), MAX_TOGETHER):
            part = every[start : start + MAX_TOGETHER]
            results += await asyncio.gather(*(self._update_one(item, fn) for item in part))
        return results

    async def _update_one(self, item: K, fn: Callable[[Tx, K], T]) -> T | ApiError:
        try:
            return await self.update(functools.partial(_swapped, fn, item))
        except ApiError as error:
            return error

    # Following

    async def _reload(self) -> None:
        self.cache.replace(await self.backend.load(ROOT))

    async def _follow(self) -> None:
        backoff, lost, turns = 0.1, False, Turns()
        while True:
            try:
                if lost:
                    await self._reload()
                    lost = False
                async for batch in self.backend.watch(ROOT, after=self.revision):
                    await turns.offer()
                    self.cache.take(batch)
                    self._committer.followed(batch)
                    backoff = 0.1
            except Compacted:
                lost = True
            except Unavailable as error:
                log.warning("store_watch_failed error=%s", error)
            except Exception:
                # What the backend told cannot be taken in: what it holds, perhaps.
                log.exception("store_watch_failed")
                lost = True
            await self._clock.sleep(backoff)
            backoff = min(backoff * 2, MAX_BACKOFF)


def _swapped(fn: Callable[[Tx, K], T], item: K, tx: Tx) -> T:
    return fn(tx, item)
