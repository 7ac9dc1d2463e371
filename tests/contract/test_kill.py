"""`kill -9` of a process that commits to SQLite: what it was told is written is there, every time."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path

from controlplane.store.backend import Snapshot
from controlplane.store.sqlite import SQLiteBackend
from tests.contract.steps import PODS, watched

SOURCES = Path(__file__).resolve().parents[2]
ROUNDS = 15
MOST = 150
# Commits one group after another, and names each write of it once the commit has returned.
COMMITTER = """
import asyncio, itertools, sys
from pathlib import Path
from controlplane.store.sqlite import SQLiteBackend
from tests.contract.steps import put

async def main(path, prefix):
    backend = SQLiteBackend(Path(path))
    for n in itertools.count():
        keys = [f"{prefix}/{n}.{part}" for part in range(1 + n % 3)]
        results = await backend.commit([put(key, key.encode()) for key in keys])
        for key, committed in zip(keys, results):
            sys.stdout.write(f"{key} {committed.revision}\\n")
        sys.stdout.flush()
        if n % 50 == 49:
            await backend.compact(results[0].revision)

asyncio.run(main(*sys.argv[1:]))
"""


def killed(path: Path, prefix: str, *, after: int) -> dict[str, int]:
    """What a committer acknowledged, key to revision, before it was killed: `after` lines or a little more."""
    command = [sys.executable, "-P", "-c", COMMITTER, str(path), prefix]
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(after)]
        child.kill()
        lines += child.stdout.readlines()
    words = [line.split() for line in lines if line.endswith(b"\n")]
    return {key.decode(): int(revision) for key, revision in words}


def lost(acknowledged: dict[str, int], snapshot: Snapshot) -> list[str]:
    found = {item.key: item.revision for item in snapshot.items if item.value == item.key.encode()}
    return [key for key, revision in acknowledged.items() if found.get(key) != revision]


async def test_no_acknowledged_write_is_lost_to_kill_9(tmp_path: Path) -> None:
    """Killed at random moments of many lives of one database; groups are there whole, and the next life goes on."""
    path, acknowledged, seed = tmp_path / "state.db", dict[str, int](), random.randrange(1 << 32)
    moments = random.Random(seed)
    for number in range(ROUNDS):
        fresh = await asyncio.to_thread(killed, path, f"{PODS}{number}", after=moments.randint(1, MOST))
        assert fresh
        assert min(fresh.values()) > max(acknowledged.values(), default=0)
        acknowledged |= fresh
        backend = SQLiteBackend(path)
        snapshot = await backend.load(PODS)
        assert lost(acknowledged, snapshot) == [], f"seed {seed}, round {number}"
        assert max(item.revision for item in snapshot.items) == snapshot.revision
        history = await watched(backend, PODS, after=snapshot.revision - 1)
        assert [batch.revision for batch in history] == [snapshot.revision]
        await backend.close()
    assert len(acknowledged) >= ROUNDS
