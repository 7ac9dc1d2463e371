"""A run of these tests that is cut off: the next one removes its cgroups, processes, mounts and directory."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.support import leftovers, runtimes
from tests.support.labs import ROOT, eventually

# A run with a container, which says its process and its cgroups and then waits for its end.
CUT_OFF = """
import asyncio
from tests.support import runtimes

async def main():
    async with runtimes.machine("native") as node:
        handle = await node.runtime.start(node.bundle("sleep", "1000"))
        print(handle.pid, node.folder, node.cgroups.folders("")[0], flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def cut_off() -> tuple[str, ...]:
    """A run that was killed: the pid of its container, and the directory and the cgroup of its machine."""
    with subprocess.Popen([sys.executable, "-c", CUT_OFF], cwd=ROOT, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        said = run.stdout.readline().decode().split()
        run.kill()
    return tuple(said)


async def test_the_next_run_removes_what_a_killed_one_left() -> None:
    """And nothing of a run that is still there: of this one."""
    async with runtimes.machine("native") as own:
        handle = await own.runtime.start(own.bundle("sleep", "1000"))
        pid, folder, cgroup = await asyncio.to_thread(cut_off)
        left = [Path(f"/proc/{pid}"), Path(folder), Path(cgroup)]
        # Otherwise the rest of this shows nothing.
        assert all(path.exists() for path in left)
        assert f" {folder}/" in Path("/proc/self/mountinfo").read_text()
        assert list(leftovers.processes(Path(folder)))
        await asyncio.to_thread(leftovers.sweep)
        await asyncio.to_thread(eventually, lambda: not any(path.exists() for path in left))
        assert f" {folder}/" not in Path("/proc/self/mountinfo").read_text()
        assert not list(leftovers.processes(Path(folder)))
        assert runtimes.runs(handle)
        os.kill(handle.pid, 9)
        await runtimes.end(own, handle)
