"""What only SQLite can do to us: a file that two processes open, and statements that fail half-way."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.store.sqlite import SQLiteBackend
from pinnace.errors import Unavailable
from tests.contract.steps import ROOT, WEB, put, values, wrote


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
    with pytest.raises(Unavailable):
        await backend.commit([put(WEB, b"2"), put(WEB, b"3")])
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
