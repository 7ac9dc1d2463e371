"""The embedded backend: one SQLite file in WAL mode, synced at every commit, for a control plane of one process.

`synchronous=FULL` makes an acknowledged write survive power loss. All SQL runs on one thread of its own, so the event
loop never waits for the disk. A lock on a file beside the database refuses a second control plane.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from controlplane.store import sqlitefile
from controlplane.store.backend import Batch, Change, Compacted, Item, Limits, Result, Snapshot, Txn
from controlplane.store.broadcaster import Broadcaster
from controlplane.store.sqlitegroup import Group
from pinnace.errors import Unavailable

T = TypeVar("T")
# Above every character that a key may hold, so that [prefix, prefix + END) is all that starts with prefix.
_END = "\U0010ffff"
_PUT = "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?)"
_LOG = "INSERT INTO log VALUES (?, ?, ?, ?)"


class SQLiteBackend:
    exclusive = True
    # A group's callers resume together, and a transaction that comes meanwhile waits for it: some 10 ms.
    limits = Limits(operations=10_000, size=64 << 20, group=100, commits=1)

    def __init__(self, path: Path, *, used: bool = False) -> None:
        """`used`: it must hold objects, as a control plane has run with it.

        Raises Unavailable when another process holds the file, sqlitefile.Damaged when it cannot be trusted."""
        self._path = path
        self._lock = sqlitefile.lock(path)
        try:
            opened = sqlitefile.connect(path, used=used)
        except BaseException:
            self._lock.close()
            raise
        self._db, self._totals, self._compacted = opened.db, opened.totals, opened.compacted
        # The rows' revisions and checksums, so that a commit reads nothing.
        self._rows = opened.rows
        # Rows that were moved out of the way at this start.
        self.quarantined = opened.quarantined
        self._broadcaster = Broadcaster()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite")

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.DatabaseError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> Unavailable:
        return Unavailable(f"{self._path}: {error}")

    async def load(self, prefix: str) -> Snapshot:
        return await self._run(lambda: self._load(prefix))

    def _load(self, prefix: str) -> Snapshot:
        sql = "SELECT key, value, revision FROM items WHERE key >= ? AND key < ? ORDER BY key"
        items = tuple(Item(*row) for row in self._db.execute(sql, (prefix, prefix + _END)))
        return Snapshot(items, self._totals.revision)

    async def current(self) -> int:
        return self._totals.revision

    async def commit(self, txns: Sequence[Txn]) -> list[Result]:
        loop = asyncio.get_running_loop()
        return await self._run(lambda: self._commit_and_publish(txns, loop))

    def _commit_and_publish(self, txns: Sequence[Txn], loop: asyncio.AbstractEventLoop) -> list[Result]:
        """From the thread, so that a caller that is cancelled does not keep the watchers from what is committed. They are told
        before the caller is, in the same turn of the loop."""
        batches: list[Batch] = []
        try:
            return self._commit(txns, batches)
        finally:
            # RuntimeError: the loop is closed, and the watchers with it.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._broadcaster.publish, batches)

    def _commit(self, txns: Sequence[Txn], batches: list[Batch]) -> list[Result]:
        refusals = [self.limits.refusal(txn) for txn in txns]
        fit = [txn for txn, refusal in zip(txns, refusals, strict=True) if refusal is None]
        try:
            results = iter(self._commit_together(fit, batches))
        except (sqlite3.Error, ValueError, OverflowError):
            # One of them is at fault, or all are: each by itself tells.
            results = iter([self._commit_alone(txn, batches) for txn in fit])
        return [refusal or next(results) for refusal in refusals]

    def _commit_alone(self, txn: Txn, batches: list[Batch]) -> Result:
        try:
            return self._commit_together([txn], batches)[0]
        except (sqlite3.Error, ValueError, OverflowError) as error:
            return self._unavailable(error)

    def _commit_together(self, txns: Sequence[Txn], batches: list[Batch]) -> list[Result]:
        """All in one durable write; on an error nothing of any."""
        group = Group(self._rows, self._totals, self._touched)
        results: list[Result] = [group.apply(txn) for txn in txns]
        if group.batches:
            self._write(group)
            batches += group.batches
        return results

    def _write(self, group: Group) -> None:
        changes = [(c.revision, c.key, c.value, batch.revision) for batch in group.batches for c in batch.changes]
        puts = [(key, group.values[key], *stamp) for key, stamp in group.stamps.items() if stamp is not None]
        gone = [key for key, stamp in group.stamps.items() if stamp is None]
        with self._transaction():
            self._db.executemany(_LOG, changes)
            self._db.executemany(_PUT, puts)
            self._db.executemany("DELETE FROM items WHERE key = ?", [(key,) for key in gone])
            sqlitefile.record(self._db, group.totals)
        self._totals = group.totals
        self._rows.update((key, stamp) for key, stamp in group.stamps.items() if stamp is not None)
        for key in gone:
            self._rows.pop(key, None)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _touched(self, prefix: str, revision: int) -> bool:
        if revision < self._compacted - 1:
            return True
        if revision >= self._totals.revision:
            return False
        # By revision: a listing is seldom old, so few rows of the log are read.
        sql = "SELECT 1 FROM log WHERE revision > ? AND key >= ? AND key < ? LIMIT 1"
        return self._db.execute(sql, (revision, prefix, prefix + _END)).fetchone() is not None

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        queue = self._broadcaster.subscribe()
        try:
            history = await self._run(lambda: self._history(prefix, after))
            for batch in history:
                yield batch
            reached = history[-1].revision if history else after
            async for batch in self._broadcaster.follow(queue, prefix, reached):
                yield batch
        finally:
            self._broadcaster.unsubscribe(queue)

    def _history(self, prefix: str, after: int) -> list[Batch]:
        if after < self._compacted - 1:
            raise Compacted(f"revision {after} is compacted")
        sql = "SELECT last, revision, key, value FROM log WHERE revision > ? AND key >= ? AND key < ? ORDER BY revision, key"
        grouped: dict[int, list[Change]] = {}
        for last, revision, key, value in self._db.execute(sql, (after, prefix, prefix + _END)):
            grouped.setdefault(last, []).append(Change(key, value, revision))
        return [Batch(last, tuple(changes)) for last, changes in grouped.items()]

    async def compact(self, before: int) -> None:
        await self._run(lambda: self._compact(before))

    def _compact(self, before: int) -> None:
        floor = min(before, self._totals.revision)
        if floor <= self._compacted:
            return
        with self._transaction():
            self._db.execute("DELETE FROM log WHERE revision < ?", (floor,))
            self._db.execute("UPDATE meta SET number = ? WHERE name = 'compacted'", (floor,))
        self._compacted = floor

    async def quarantined_keys(self, most: int) -> list[str]:
        return await self._run(lambda: self._quarantined_keys(most))

    def _quarantined_keys(self, most: int) -> list[str]:
        sql = "SELECT DISTINCT CAST(key AS BLOB) FROM quarantine WHERE key IS NOT NULL ORDER BY key LIMIT ?"
        return [bytes(key).decode(errors="backslashreplace") for (key,) in self._db.execute(sql, (most,))]

    @property
    def quarantine_file(self) -> str:
        return str(self._path)

    async def close(self) -> None:
        self._broadcaster.close()
        await self._run(self._db.close)
        self._thread.shutdown()
        self._lock.close()
