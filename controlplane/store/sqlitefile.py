"""The file of the SQLite backend: its lock, its schema and the upgrade of older ones, and the checks at open.

A checksum per row covers key, value and revision. A row that does not match is moved to the table `quarantine`: one damaged
object must neither be served nor keep the control plane from starting. The number of rows and a digest of their checksums are
part of every commit, so a file that lacks rows (restored next to another file's WAL, say) is refused as a whole.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from controlplane.store.sqlitegroup import Stamp, Totals, checksum
from pinnace.errors import Internal, Unavailable

log = logging.getLogger("pinnace.store")
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=2000", "journal_size_limit=4194304")
_TABLES = """
CREATE TABLE IF NOT EXISTS items (
  key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL, checksum INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (
  revision INTEGER NOT NULL, key TEXT NOT NULL, value BLOB, last INTEGER NOT NULL, PRIMARY KEY (revision, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quarantine (key TEXT, value BLOB, revision INTEGER, checksum INTEGER);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
"""
_SELECT = "SELECT key, value, revision, checksum FROM items"
_FIRST = "INSERT INTO meta VALUES ('revision', 0), ('compacted', 0), ('schema', 2), ('count', 0), ('digest', 0)"
# Version 1 had neither checksums nor, in the log, the last revision of a row's transaction, which all its rows shared.
_UPGRADE = (
    "ALTER TABLE items ADD COLUMN checksum INTEGER",
    "ALTER TABLE log ADD COLUMN last INTEGER NOT NULL DEFAULT 0",
    "UPDATE log SET last = revision",
    "DROP INDEX IF EXISTS log_by_key",
    "INSERT OR REPLACE INTO meta VALUES ('schema', 2), ('count', 0), ('digest', 0)",
)
_MACHINE = (
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
)  # fmt: skip
_WAYS_OUT = "restore a backup of the whole directory, or start once with --force-new: the file is kept under another name"


class Damaged(Internal):
    """The file cannot be trusted as a whole; the text names the ways out."""


@dataclass(frozen=True)
class Opened:
    """`quarantined`: rows moved out of the way now."""

    db: sqlite3.Connection
    rows: dict[str, Stamp]
    totals: Totals
    compacted: int
    quarantined: int


class Lock:
    """The exclusive right to the database, held until `close` or the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        os.close(self._descriptor)


def lock(path: Path) -> Lock:
    """Raises Unavailable when another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Unavailable(f"{path} is in use by another control plane") from None
    return Lock(descriptor)


def set_aside(path: Path) -> None:
    """Rename the database and its WAL, so that a new one begins. Nothing is deleted."""
    held = lock(path)
    try:
        number = 1
        while Path(f"{path}.old{number}").exists() or Path(f"{path}.old{number}-wal").exists():
            number += 1
        for suffix in ("-wal", "-shm", ""):
            if Path(f"{path}{suffix}").exists():
                os.rename(f"{path}{suffix}", f"{path}.old{number}{suffix}")
    finally:
        held.close()


def connect(path: Path, *, used: bool) -> Opened:
    """Open, upgrade and check. With `used` it must hold objects. Raises Damaged, Unavailable when it cannot be read now."""
    if used and not (path.exists() and path.stat().st_size):
        raise _lost(path)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    try:
        try:
            return _open(path, used=used, pragmas=_PRAGMAS)
        except sqlite3.OperationalError as error:
            if not _transient(error):
                raise
            log.warning("store_reopened file=%s error=%s", path, error)
            # Without the file of shared memory, for which a full disk has no room. Other processes cannot read then.
            return _open(path, used=used, pragmas=("locking_mode=EXCLUSIVE", *_PRAGMAS))
    except sqlite3.DatabaseError as error:
        if _transient(error):
            raise Unavailable(f"{path}: {error}") from error
        raise Damaged(f"{path}: {error}: {_WAYS_OUT}") from error


def _transient(error: sqlite3.Error) -> bool:
    """Whether the file may be sound: the machine is at fault."""
    # The lower byte is the primary result code, https://sqlite.org/rescode.html; errors of Python's own module have none.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _MACHINE


def _open(path: Path, *, used: bool, pragmas: Sequence[str]) -> Opened:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        # A damaged key may not be UTF-8; it is read as bytes, which no sound key is.
        db.text_factory = _text
        for pragma in pragmas:
            db.execute(f"PRAGMA {pragma}")
        _check(db, path)
        _prepare(db)
        opened = _read(db, path)
        if used and not opened.rows:
            raise _lost(path)
        db.text_factory = str
        return opened
    except BaseException:
        db.close()
        raise


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _lost(path: Path) -> Damaged:
    return Damaged(f"{path} is absent or empty, but a control plane with these certificates had one: {_WAYS_OUT}")


def _check(db: sqlite3.Connection, path: Path) -> None:
    """SQLite's own check of the file's structure. Raises Damaged."""
    [first, *_] = db.execute("PRAGMA quick_check(1)").fetchall()
    if first != ("ok",):
        raise Damaged(f"{path}: {first[0]}: {_WAYS_OUT}")


def _prepare(db: sqlite3.Connection) -> None:
    """Make or upgrade the tables. Writes nothing to a file of this version: the disk may be full."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    # Version 1 had no quarantine, which an upgrade that ended half way may lack too.
    if not {"meta", "quarantine"} <= tables:
        db.executescript(_TABLES)
    if not db.execute("SELECT 1 FROM meta").fetchone():
        db.execute(_FIRST)
    if _number(db, "schema") == 1:
        db.execute("BEGIN IMMEDIATE")
        for statement in _UPGRADE:
            db.execute(statement)
        rows = db.execute("SELECT key, value, revision FROM items").fetchall()
        stamps = [(checksum(*row), row[0]) for row in rows]
        db.executemany("UPDATE items SET checksum = ? WHERE key = ?", stamps)
        record(db, _totals(_number(db, "revision"), [stamp for stamp, _ in stamps]))
        db.execute("COMMIT")


def _totals(revision: int, checksums: list[int]) -> Totals:
    digest = 0
    for value in checksums:
        digest ^= value
    return Totals(revision, len(checksums), digest)


def record(db: sqlite3.Connection, totals: Totals) -> None:
    """Part of the transaction that changes them."""
    numbers = [(totals.revision, "revision"), (totals.count, "count"), (totals.digest, "digest")]
    db.executemany("UPDATE meta SET number = ? WHERE name = ?", numbers)


def _number(db: sqlite3.Connection, name: str) -> int:
    row = db.execute("SELECT number FROM meta WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0


def _read(db: sqlite3.Connection, path: Path) -> Opened:
    """The rows' stamps. Raises Damaged when they are not those of the last commit."""
    rows, bad, recorded = dict[str, Stamp](), list[tuple[object, ...]](), list[int]()
    for key, value, revision, stamp in db.execute(_SELECT):
        recorded.append(stamp if isinstance(stamp, int) else 0)
        if isinstance(key, str) and isinstance(value, bytes) and stamp == checksum(key, value, revision):
            rows[key] = (revision, stamp)
        else:
            bad.append((key, value, revision, stamp))
    expected = Totals(_number(db, "revision"), _number(db, "count"), _number(db, "digest"))
    # Of sound rows: the revision of a damaged one says nothing.
    logged = db.execute("SELECT max(revision) FROM log").fetchone()[0] or 0
    newest = max((revision for revision, _ in rows.values()), default=0)
    found = _totals(max(expected.revision, newest, logged), recorded)
    if (found.revision, found.count) != (expected.revision, expected.count) or (found != expected and not bad):
        raise Damaged(
            f"{path} holds {found.count} objects up to revision {found.revision}, but its last commit was of {expected.count} "
            f"up to {expected.revision}: it does not belong to {path.name}-wal, or is damaged: {_WAYS_OUT}"
        )
    totals = _quarantine(db, path, bad, rows, expected) if bad else expected
    return Opened(db, rows, totals, _number(db, "compacted"), len(bad))


def _quarantine(
    db: sqlite3.Connection, path: Path, bad: list[tuple[object, ...]], rows: dict[str, Stamp], before: Totals
) -> Totals:
    """Keep only the rows whose checksum matches. The table is written anew: a damaged key cannot be found by itself."""
    totals = _totals(before.revision, [stamp for _, stamp in rows.values()])
    sound = [row for row in db.execute(_SELECT) if rows.get(row[0]) == row[2:] and row[3] == checksum(*row[:3])]
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO quarantine VALUES (?, ?, ?, ?)", bad)
    db.execute("DELETE FROM items")
    db.executemany("INSERT INTO items VALUES (?, ?, ?, ?)", sound)
    record(db, totals)
    db.execute("COMMIT")
    for row in bad:
        log.error("row_quarantined file=%s key=%r", path, row[0])
    return totals
