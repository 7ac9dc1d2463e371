"""What only SQLite can do to us: a file that two processes open, and statements that fail half-way."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.store import Store
from controlplane.store.sqlite import SQLiteBackend
from pinnace.clock import SystemClock
from pinnace.errors import Unavailable
from pinnace.kinds import CONFIG_MAP
from tests.contract.steps import NODES, PODS, ROOT, WEB, put, values, watched, wrote


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "state.db"


@pytest.fixture
async def backend(path: Path) -> AsyncIterator[SQLiteBackend]:
    opened = SQLiteBackend(path)
    yield opened
    await opened.close()


def alter(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.close()


async def test_a_second_control_plane_is_refused_until_the_first_closes(path: Path) -> None:
    """The lock goes with the process that holds it."""
    first = SQLiteBackend(path)
    with pytest.raises(Unavailable):
        SQLiteBackend(path)
    await first.close()
    await SQLiteBackend(path).close()


async def test_nobody_else_may_read_the_file(backend: SQLiteBackend, path: Path) -> None:
    """It holds secrets."""
    await wrote(backend, put(WEB))
    modes = {file.name: file.stat().st_mode & 0o077 for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(modes, 0)
    assert path.name in modes


async def test_a_group_that_fails_leaves_nothing_behind(backend: SQLiteBackend, path: Path) -> None:
    """Not its first transactions, and not its revision numbers."""
    revision = await wrote(backend, put(WEB, b"1"))
    alter(path, "ALTER TABLE meta RENAME TO hidden")
    results = await backend.commit([put(WEB, b"2"), put(WEB, b"3")])
    assert [type(result) for result in results] == [Unavailable, Unavailable]
    alter(path, "ALTER TABLE hidden RENAME TO meta")
    assert values(await backend.load(ROOT)) == {WEB: b"1"}
    assert await wrote(backend, put(WEB, b"4")) == revision + 1


async def test_a_compaction_that_fails_does_not_stop_the_commits_after_it(backend: SQLiteBackend, path: Path) -> None:
    """It rolls back, and history is still whole."""
    revisions = [await wrote(backend, put(WEB, b"%d" % n)) for n in range(4)]
    alter(path, "ALTER TABLE meta RENAME TO hidden")
    with pytest.raises(Unavailable):
        await backend.compact(revisions[2])
    alter(path, "ALTER TABLE hidden RENAME TO meta")
    await wrote(backend, put(WEB, b"after"))
    batches = backend.watch(ROOT, after=0)
    assert [(await anext(batches)).revision for _ in revisions] == revisions
    await batches.aclose()


OLD = """
CREATE TABLE items (key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE log (revision INTEGER NOT NULL, key TEXT NOT NULL, value BLOB, PRIMARY KEY (revision, key)) WITHOUT ROWID;
CREATE INDEX log_by_key ON log (key, revision);
CREATE TABLE meta (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('revision', 7), ('compacted', 0), ('schema', 1);
INSERT INTO items VALUES ('/registry/pods/default/a', X'61', 7), ('/registry/pods/default/web', X'77', 7);
INSERT INTO log VALUES (7, '/registry/pods/default/a', X'61'), (7, '/registry/pods/default/web', X'77');
"""


async def test_a_file_of_an_earlier_version_is_upgraded_in_place(path: Path) -> None:
    """Objects, their revisions and history; twice opened it is the same."""
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.executescript(OLD)
    connection.close()
    for _ in range(2):
        backend = SQLiteBackend(path)
        items = {item.key: (item.value, item.revision) for item in (await backend.load(ROOT)).items}
        assert (items[PODS + "default/a"], items[WEB]) == ((b"a", 7), (b"w", 7))
        history = await watched(backend, ROOT, after=6)
        assert [len(batch.changes) for batch in history if batch.revision == 7] == [2]
        assert await wrote(backend, put(NODES + "n1")) > 7
        assert backend.quarantined == 0
        await backend.close()


async def test_watchers_learn_of_a_commit_whose_caller_is_cancelled(backend: SQLiteBackend) -> None:
    """The file has it, so a watch must not go on without it."""
    follower = aiter(backend.watch(ROOT, after=await wrote(backend, put(WEB, b"1"))))
    told = asyncio.ensure_future(anext(follower))
    release = threading.Event()
    # The thread holds still until the caller is gone; the commit has then begun.
    backend._db.create_function("hold", 0, lambda: release.wait(10))
    backend._db.execute("CREATE TEMP TRIGGER held AFTER INSERT ON main.log BEGIN SELECT hold(); END")
    waiting = asyncio.ensure_future(backend.commit([put(WEB, b"2")]))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.sleep(0)
    release.set()
    async with asyncio.timeout(10):
        batch = await told
    assert [change.value for change in batch.changes] == [b"2"]
    assert waiting.cancelled()


async def test_history_of_earlier_processes_does_not_pile_up(tmp_path: Path) -> None:
    """Short runs forget it with their first commit; nobody can watch from there."""
    for number in range(3):
        backend = SQLiteBackend(tmp_path / "store.db")
        store = await Store.open(backend, SystemClock())
        serving = asyncio.ensure_future(store.serve())
        for step in range(20):
            message: Any = CONFIG_MAP.cls()
            message.metadata.name, message.metadata.namespace = f"c{number}-{step}", "default"
            await store.update(lambda tx, message=message: tx.put(CONFIG_MAP, message))
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await store.close()
        connection = sqlite3.connect(tmp_path / "store.db")
        [logged] = connection.execute("SELECT count(*) FROM log").fetchone()
        connection.close()
        assert logged <= 21
