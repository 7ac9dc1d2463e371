"""The embedded backend: one SQLite file in WAL mode, synced at every commit, for a control plane of one process.

`synchronous=FULL` makes an acknowledged write survive power loss. All SQL runs on one thread of its own, so the event
loop never waits for the disk. A lock on a file beside the database refuses a second control plane.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from controlplane.store.backend import Batch, Change, Compacted, Item, Snapshot, Txn
from controlplane.store.feed import Feed
from pinnace.errors import Unavailable

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (
  revision INTEGER NOT NULL, key TEXT NOT NULL, value BLOB, PRIMARY KEY (revision, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS log_by_key ON log (key, revision);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('revision', 0), ('compacted', 0), ('schema', 1);
"""
# Above every character that a key may hold, so that [prefix, prefix + END) is all that starts with prefix.
_END = "\U0010ffff"


class SQLiteBackend:
    exclusive = True

    def __init__(self, path: Path) -> None:
        """Raises Unavailable when another process holds the file, sqlite3.DatabaseError when it is damaged."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise Unavailable(f"{path} is in use by another control plane") from None
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=500", "journal_size_limit=4194304"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA)
        self._revision = self._number("revision")
        self._compacted = self._number("compacted")
        self._feed = Feed()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite")

    def _number(self, name: str) -> int:
        number: int = self._db.execute("SELECT number FROM meta WHERE name = ?", (name,)).fetchone()[0]
        return number

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.OperationalError as error:
            raise Unavailable(f"the store failed: {error}") from error

    async def load(self, prefix: str) -> Snapshot:
        return await self._run(lambda: self._load(prefix))

    def _load(self, prefix: str) -> Snapshot:
        sql = "SELECT key, value, revision FROM items WHERE key >= ? AND key < ? ORDER BY key"
        items = tuple(Item(*row) for row in self._db.execute(sql, (prefix, prefix + _END)))
        return Snapshot(items, self._revision)

    async def commit(self, txns: Sequence[Txn]) -> list[int | None]:
        batches: list[Batch] = []
        # Shielded: a caller that is cancelled must not keep the watchers from what the thread still commits.
        work = asyncio.ensure_future(self._run(lambda: self._commit(txns, batches)))
        work.add_done_callback(lambda done: self._publish(done, batches))
        return await asyncio.shield(work)

    def _publish(self, done: asyncio.Future[list[int | None]], batches: list[Batch]) -> None:
        if not done.cancelled() and done.exception() is None:
            self._feed.publish(batches)

    def _commit(self, txns: Sequence[Txn], batches: list[Batch]) -> list[int | None]:
        before = self._revision
        try:
            with self._transaction():
                results = [self._apply(txn, batches) for txn in txns]
                if batches:
                    self._db.execute("UPDATE meta SET number = ? WHERE name = 'revision'", (self._revision,))
        except BaseException:
            self._revision = before
            batches.clear()
            raise
        return results

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

    def _apply(self, txn: Txn, batches: list[Batch]) -> int | None:
        if not self._holds(txn):
            return None
        changes = tuple(Change(w.key, w.value) for w in txn.writes if w.value is not None or self._at(w.key))
        if not changes:
            return self._revision
        self._revision += 1
        for change in changes:
            self._db.execute("INSERT INTO log VALUES (?, ?, ?)", (self._revision, change.key, change.value))
            if change.value is None:
                self._db.execute("DELETE FROM items WHERE key = ?", (change.key,))
            else:
                sql = "INSERT OR REPLACE INTO items VALUES (?, ?, ?)"
                self._db.execute(sql, (change.key, change.value, self._revision))
        batches.append(Batch(self._revision, changes))
        return self._revision

    def _at(self, key: str) -> int:
        row = self._db.execute("SELECT revision FROM items WHERE key = ?", (key,)).fetchone()
        return row[0] if row else 0

    def _holds(self, txn: Txn) -> bool:
        if any(self._at(key) != revision for key, revision in txn.reads.items()):
            return False
        return not any(self._touched(prefix, revision) for prefix, revision in txn.ranges.items())

    def _touched(self, prefix: str, revision: int) -> bool:
        if revision < self._compacted - 1:
            return True
        if revision >= self._revision:
            return False
        sql = "SELECT 1 FROM log WHERE revision > ? AND key >= ? AND key < ? LIMIT 1"
        return self._db.execute(sql, (revision, prefix, prefix + _END)).fetchone() is not None

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        queue = self._feed.subscribe()
        try:
            history = await self._run(lambda: self._history(prefix, after))
            for batch in history:
                yield batch
            reached = history[-1].revision if history else after
            async for batch in self._feed.follow(queue, prefix, reached):
                yield batch
        finally:
            self._feed.unsubscribe(queue)

    def _history(self, prefix: str, after: int) -> list[Batch]:
        if after < self._compacted - 1:
            raise Compacted(f"revision {after} is compacted")
        sql = "SELECT revision, key, value FROM log WHERE revision > ? AND key >= ? AND key < ? ORDER BY revision, key"
        grouped: dict[int, list[Change]] = {}
        for revision, key, value in self._db.execute(sql, (after, prefix, prefix + _END)):
            grouped.setdefault(revision, []).append(Change(key, value))
        return [Batch(revision, tuple(changes)) for revision, changes in grouped.items()]

    async def compact(self, before: int) -> None:
        await self._run(lambda: self._compact(before))

    def _compact(self, before: int) -> None:
        floor = min(before, self._revision)
        if floor <= self._compacted:
            return
        with self._transaction():
            self._db.execute("DELETE FROM log WHERE revision < ?", (floor,))
            self._db.execute("UPDATE meta SET number = ? WHERE name = 'compacted'", (floor,))
        self._compacted = floor

    async def close(self) -> None:
        self._feed.close()
        await self._run(self._db.close)
        self._thread.shutdown()
        os.close(self._lock)
