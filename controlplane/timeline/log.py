"""The file of the timeline: SQLite in WAL mode, bounded by size and by age. Everything here blocks: one thread calls it.

`synchronous=NORMAL`: a write syncs nothing, so it costs no latency of the disk; a killed process loses nothing that was
committed, and a power failure the last moments at most. SQLite drops a record that was cut off at the end of its WAL.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from controlplane.timeline.records import Record, Subject, Type

log = logging.getLogger("pinnace.timeline")
_PRAGMAS = (
    "journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=256", "journal_size_limit=1048576", "cache_size=-256",
    "temp_store=FILE",
)  # fmt: skip
# `owners` names an owner by its uid: its own row comes and goes with its records. The uid alone is no key of an object: the
# writer of an event may name any, together with an object in a namespace of the writer's.
_TABLES = """
CREATE TABLE IF NOT EXISTS objects (
  id INTEGER PRIMARY KEY, uid TEXT NOT NULL, api_version TEXT NOT NULL, kind TEXT NOT NULL, namespace TEXT NOT NULL,
  name TEXT NOT NULL, created REAL, deleted REAL, UNIQUE (uid, kind, namespace, name)
);
CREATE INDEX IF NOT EXISTS objects_by_name ON objects (kind, namespace, name);
CREATE TABLE IF NOT EXISTS owners (owner TEXT NOT NULL, object INTEGER NOT NULL, PRIMARY KEY (owner, object)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS owners_by_object ON owners (object);
CREATE TABLE IF NOT EXISTS records (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, object INTEGER NOT NULL, time REAL NOT NULL, type INTEGER NOT NULL,
  revision INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS records_by_object ON records (object, type, time);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('seen', 0);
"""
_SCHEMA = 2
# The last parameter: whether the record is the object's own, whose group counts, and not an event's.
_OBJECT = """
INSERT INTO objects (uid, api_version, kind, namespace, name, created, deleted) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (uid, kind, namespace, name) DO UPDATE SET created = coalesce(created, excluded.created),
  deleted = coalesce(excluded.deleted, deleted), api_version = iif(?8, excluded.api_version, api_version)
RETURNING id
"""
_RECORD = "INSERT INTO records (object, time, type, revision, body) VALUES (?, ?, ?, ?, ?)"
# Records that one step of the retention removes, and steps after one write: the writer keeps up, and no write waits long.
TRIM, STEPS = 500, 4
# Objects whose row numbers are remembered.
MAX_NUMBERS = 1_000
# Share of the size at which the oldest records go; the rest is for what is freed in pieces, and for the WAL.
_FULL = 0.9
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of the file, and seconds that a record is kept (0: as long as there is room)."""

    size: int = 64 << 20
    age: float = 7 * 86400.0


class InUse(OSError):
    """Another process writes this file."""


class Log:
    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._lock = -1
        self._db: sqlite3.Connection | None = None
        # Row numbers of objects that were written of late: mostly the next record is of one of them.
        self._numbers: dict[Subject, int] = {}

    @property
    def path(self) -> Path:
        return self._path

    def open(self, *, fresh: bool = False) -> int:
        """Returns the revision up to which the file knows all changes, 0 for a new one; `fresh` begins a new one. A file that
        SQLite cannot read is renamed to `.damaged`. Raises OSError, sqlite3.Error."""
        self._claim()
        self._disconnect()
        if fresh:
            self._remove()
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            self._disconnect()
            if error.sqlite_errorcode not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
            log.warning("timeline_set_aside path=%s error=%s", self._path, error)
            os.replace(self._path, f"{self._path}.damaged")
            self._remove()
            return self._connect()

    def _claim(self) -> None:
        """Raises InUse."""
        if self._lock >= 0:
            return
        descriptor = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise InUse(0, "in use by another control plane", str(self._path)) from None
        self._lock = descriptor

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)

    def _connect(self) -> int:
        # SQLite gives its WAL the mode of the database.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        db = self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=2.0)
        for pragma in _PRAGMAS:
            db.execute(f"PRAGMA {pragma}")
        if db.execute("PRAGMA user_version").fetchone()[0] not in (0, _SCHEMA):
            raise sqlite3.OperationalError(f"{self._path} is of another version of Pinnace: remove it to begin anew")
        db.executescript(_TABLES)
        db.execute(f"PRAGMA user_version={_SCHEMA}")
        db.execute(f"PRAGMA max_page_count={max(self._limits.size // _PAGE, 64)}")
        return int(db.execute("SELECT number FROM meta WHERE name = 'seen'").fetchone()[0])

    def append(self, batch: Sequence[Record], *, seen: int, now: float) -> None:
        """Write records, all or none; the file knows all changes up to revision `seen` then. Raises sqlite3.Error, OSError."""
        if self._db is None:
            self._connect()
        assert self._db is not None
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany(_RECORD, [self._row(db, record) for record in batch])
            db.execute("UPDATE meta SET number = ? WHERE name = 'seen'", (seen,))
            db.execute("COMMIT")
        except BaseException:
            self._numbers.clear()
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self._trim(db, now)

    def _row(self, db: sqlite3.Connection, record: Record) -> tuple[int, float, int, int, bytes]:
        number = 0 if record.type is Type.GAP else self._numbers.get(record.subject, 0)
        if record.type in (Type.CREATED, Type.DELETED) or (not number and record.type is not Type.GAP):
            number = self._object(db, record)
        if record.owners:
            db.executemany("INSERT OR IGNORE INTO owners VALUES (?, ?)", [(owner, number) for owner in record.owners])
        return number, record.time, int(record.type), record.revision, record.encode()

    def _object(self, db: sqlite3.Connection, record: Record) -> int:
        """The number of the row of the record's object, which is made or completed."""
        created = record.time if record.type is Type.CREATED else None
        deleted = record.time if record.type is Type.DELETED else None
        own = record.type is not Type.EVENT
        [number] = db.execute(_OBJECT, (*record.subject, created, deleted, own)).fetchone()
        if len(self._numbers) >= MAX_NUMBERS:
            self._numbers.clear()
        self._numbers[record.subject] = number
        return int(number)

    # Retention

    def _trim(self, db: sqlite3.Connection, now: float) -> None:
        for _ in range(STEPS):
            if self._is_full(db):
                self._drop(db, before=float("inf"))
            elif self._limits.age and self._oldest(db) < now - self._limits.age:
                self._drop(db, before=now - self._limits.age)
            else:
                return

    def _is_full(self, db: sqlite3.Connection) -> bool:
        return self._used(db) > self._limits.size * _FULL

    def _used(self, db: sqlite3.Connection) -> int:
        [pages], [free] = db.execute("PRAGMA page_count").fetchone(), db.execute("PRAGMA freelist_count").fetchone()
        return int(pages - free) * _PAGE

    def _oldest(self, db: sqlite3.Connection) -> float:
        row = db.execute("SELECT time FROM records ORDER BY seq LIMIT 1").fetchone()
        return float("inf") if row is None else float(row[0])

    def _drop(self, db: sqlite3.Connection, *, before: float) -> None:
        """The oldest TRIM records, as far as they are of before that time, and objects without any left."""
        self._numbers.clear()
        db.execute("BEGIN IMMEDIATE")
        try:
            oldest = db.execute("SELECT seq, object, time FROM records ORDER BY seq LIMIT ?", (TRIM,)).fetchall()
            rows = [(seq, number) for seq, number, time in oldest if time < before]
            db.executemany("DELETE FROM records WHERE seq = ?", [(seq,) for seq, _ in rows])
            for number in {number for _, number in rows}:
                if db.execute("SELECT 1 FROM records WHERE object = ? LIMIT 1", (number,)).fetchone() is None:
                    db.execute("DELETE FROM objects WHERE id = ?", (number,))
                    db.execute("DELETE FROM owners WHERE object = ?", (number,))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _disconnect(self) -> None:
        self._numbers.clear()
        if self._db is not None:
            self._db.close()
            self._db = None

    def reset(self) -> None:
        """After an error: the next `append` opens the file again."""
        self._disconnect()

    def close(self) -> None:
        self._disconnect()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
