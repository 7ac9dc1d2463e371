"""Files that were restored, mixed up or damaged: what is refused, what is put aside, and what a full disk prevents."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.store import Store
from controlplane.store.backend import Committed
from controlplane.store.sqlite import SQLiteBackend
from controlplane.store.sqlitefile import Damaged
from pinnace.clock import SystemClock
from pinnace.errors import Unavailable
from pinnace.kinds import CONFIG_MAP
from tests.contract.steps import PODS, ROOT, WEB, put, values, watched, wrote

SOURCES = Path(__file__).resolve().parents[2]
# Writes objects whose names begin with a prefix, and dies without closing the database.
WRITER = """
import asyncio, os, sys
from pathlib import Path
from controlplane.store.sqlite import SQLiteBackend
from tests.contract.steps import PODS, put

async def main(path, prefix, count):
    backend = SQLiteBackend(Path(path))
    for number in range(int(count)):
        await backend.commit([put(f"{PODS}{prefix}{number}", os.urandom(3000))])
    os._exit(0)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def written(path: Path, prefix: str, count: int) -> None:
    command = [sys.executable, "-P", "-c", WRITER, str(path), prefix, str(count)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(SOURCES)})


def alter(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, values)
    connection.close()


async def closed(path: Path, count: int = 3) -> None:
    backend = SQLiteBackend(path)
    for number in range(count):
        await wrote(backend, put(f"{PODS}{number}", b"value %d" % number))
    await backend.close()


@pytest.mark.parametrize(
    "column", ["value = X'ff'", "revision = revision + 0.5", "revision = revision + 64", "value = 'text'", "checksum = NULL"]
)
async def test_a_damaged_row_is_quarantined_and_the_others_are_served(path: Path, column: str) -> None:
    """Once: it is kept for the doctor, its name is free again, and the next start is clean."""
    await closed(path)
    alter(path, f"UPDATE items SET {column} WHERE key = ?", PODS + "1")
    backend = SQLiteBackend(path)
    assert backend.quarantined == 1
    assert list(values(await backend.load(ROOT))) == [PODS + "0", PODS + "2"]
    assert await wrote(backend, put(PODS + "1", b"again", reads={PODS + "1": 0}))
    await backend.close()
    backend = SQLiteBackend(path)
    assert (backend.quarantined, len((await backend.load(ROOT)).items)) == (0, 3)
    await backend.close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT key FROM quarantine").fetchall() == [(PODS + "1",)]
    connection.close()


async def test_a_key_that_is_no_text_is_quarantined(path: Path) -> None:
    """Python's module for SQLite raises errors of its own for such keys."""
    await closed(path)
    alter(path, "UPDATE items SET key = CAST(X'80' || substr(key, 2) AS TEXT) WHERE key = ?", PODS + "1")
    backend = SQLiteBackend(path)
    assert (backend.quarantined, list(values(await backend.load(ROOT)))) == (1, [PODS + "0", PODS + "2"])
    await backend.close()


async def test_the_damage_of_a_store_is_told_until_it_is_repaired(path: Path) -> None:
    """Quarantined rows by key, escaped where that is no text, and unreadable values; not those whose object was made anew."""
    keys = [CONFIG_MAP.key("default", name) for name in "abc"]
    backend = SQLiteBackend(path)
    await backend.commit([put(key, CONFIG_MAP.cls().SerializeToString()) for key in keys])
    await wrote(backend, put(bad := CONFIG_MAP.key("default", "bad"), b"\xff\xff"))
    await backend.close()
    alter(path, "UPDATE items SET value = X'ff' WHERE key IN (?, ?)", *keys[:2])
    alter(path, "UPDATE items SET key = CAST(key || X'80' AS TEXT) WHERE key = ?", keys[2])
    store = await Store.open(SQLiteBackend(path), SystemClock())
    serving = asyncio.ensure_future(store.serve())
    damage = await store.damage()
    assert (damage.quarantined, damage.unreadable) == ((*keys[:2], keys[2] + r"\x80"), (bad,))
    assert (damage.file, damage.truncated) == (str(path), False)
    for name in ("a", "bad"):
        made = CONFIG_MAP.cls()
        made.metadata.name, made.metadata.namespace = name, "default"
        await store.update(lambda tx, made=made: tx.create(CONFIG_MAP, made))
    damage = await store.damage()
    assert (damage.quarantined, damage.unreadable) == ((keys[1], keys[2] + r"\x80"), ())
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    await store.close()


async def test_an_upgrade_that_ended_half_way_has_a_quarantine(path: Path) -> None:
    """A damaged row is put aside as in any other file."""
    await closed(path)
    alter(path, "DROP TABLE quarantine")
    alter(path, "UPDATE items SET value = X'ff' WHERE key = ?", PODS + "1")
    backend = SQLiteBackend(path)
    assert backend.quarantined == 1
    await backend.close()


@pytest.mark.parametrize(
    "statement",
    [
        f"DELETE FROM items WHERE key = '{PODS}1'",
        "UPDATE meta SET number = 2 WHERE name = 'revision'",
        f"INSERT INTO items SELECT '{PODS}x', value, revision, checksum FROM items LIMIT 1",
    ],
    ids=["a lost row", "an older revision", "a row too many"],
)
async def test_rows_that_are_not_those_of_the_last_commit_are_refused(path: Path, statement: str) -> None:
    """A whole that lacks a part would be served in silence."""
    await closed(path)
    alter(path, statement)
    with pytest.raises(Damaged, match=r"last commit.*--force-new"):
        SQLiteBackend(path)


async def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    """With its name and the way out."""
    path.write_bytes(b"no database at all, but long enough for a header" * 100)
    with pytest.raises(Damaged, match=rf"{path}.*--force-new"):
        SQLiteBackend(path)


async def test_a_flipped_bit_in_the_file_never_alters_an_object(path: Path) -> None:
    """Wherever it is: the file is refused, the row put aside, or the bit meant nothing."""
    await closed(path, count=40)
    original, expected = path.read_bytes(), {f"{PODS}{n}": b"value %d" % n for n in range(40)}
    for at in range(100, len(original), max(1, len(original) // 150)):
        changed = bytearray(original)
        # Also bits that no UTF-8 has.
        changed[at] ^= 0x04 if at % 2 else 0x80
        path.write_bytes(changed)
        try:
            backend = SQLiteBackend(path)
        except Damaged:
            continue
        finally:
            for suffix in ("-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
        found = values(await backend.load(ROOT))
        assert len(found) + backend.quarantined == 40, at
        assert found.items() <= expected.items(), at
        await backend.close()


async def test_a_file_restored_beside_the_wal_of_another_is_never_served_in_part(path: Path, tmp_path: Path) -> None:
    """What SQLite makes of both together is either a state that existed, or refused."""
    written(path, "a", 700)
    backup = tmp_path / "backup.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    shutil.copy(path, backup)
    written(path, "b", 1200)
    assert Path(f"{path}-wal").stat().st_size
    shutil.copy(backup, path)
    Path(f"{path}-shm").unlink(missing_ok=True)
    try:
        backend = SQLiteBackend(path)
    except Damaged:
        return
    names = [key.removeprefix(PODS) for key in values(await backend.load(ROOT))]
    await backend.close()
    assert len([name for name in names if name[0] == "a"]) == 700
    later = sorted(int(name[1:]) for name in names if name[0] == "b")
    assert later == list(range(len(later)))


async def test_a_transaction_that_cannot_be_written_fails_alone(path: Path) -> None:
    """A key that is no text in UTF-8, for one: its neighbours in the group are committed."""
    backend = SQLiteBackend(path)
    first, odd, last = await backend.commit([put(PODS + "a"), put(PODS + "\ud800"), put(PODS + "b")])
    assert isinstance(odd, Unavailable)
    assert isinstance(first, Committed)
    assert isinstance(last, Committed)
    assert list(values(await backend.load(ROOT))) == [PODS + "a", PODS + "b"]
    await backend.close()


async def test_a_full_disk_prevents_no_reads_and_the_error_names_the_file(path: Path) -> None:
    """Neither while it serves nor at its start; writes work again when there is room."""
    await closed(path)
    backend = SQLiteBackend(path)
    store = await Store.open(backend, SystemClock())
    serving = asyncio.ensure_future(store.serve())
    pages = backend._db.execute("PRAGMA page_count").fetchone()[0]
    backend._db.execute(f"PRAGMA max_page_count = {pages}")
    large = CONFIG_MAP.cls()
    large.metadata.name, large.metadata.namespace = "large", "default"
    large.data["x"] = "x" * 100_000
    with pytest.raises(Unavailable, match=rf"{path}: database or disk is full"):
        await store.update(lambda tx: tx.put(CONFIG_MAP, large))
    assert len((await backend.load(ROOT)).items) == 3
    assert store.rows(CONFIG_MAP) == []
    backend._db.execute("PRAGMA max_page_count = 1000000")
    await store.update(lambda tx: tx.put(CONFIG_MAP, large))
    assert len(store.rows(CONFIG_MAP)) == 1
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    await store.close()


@pytest.mark.root
async def test_a_control_plane_starts_on_a_full_disk(tmp_path: Path) -> None:
    """A file system without a free byte: the objects are served, and a write says which file has no room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=True)
    try:
        await closed(disk / "store.db")
        filler = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError):
            while os.write(filler, b"x" * 4096):
                pass
        os.close(filler)
        backend = SQLiteBackend(disk / "store.db")
        assert len((await backend.load(ROOT)).items) == 3
        [result] = await backend.commit([put(WEB, b"x" * 50_000)])
        assert isinstance(result, Unavailable)
        assert str(disk / "store.db") in result.message
        (disk / "filler").unlink()
        await wrote(backend, put(WEB, b"x" * 50_000))
        assert len(await watched(backend, ROOT, after=3)) == 1
        await backend.close()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
