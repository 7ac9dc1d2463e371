"""What is left of memory, disk and processes, as kubelet measures it.

Where a node was given a capacity of its own (a lab's nodes share one machine), what its pods use is set against that
capacity; else the machine is asked. So eviction can be seen without exhausting the machine.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from nodeagent.eviction.decide import Observation
from nodeagent.node.resources import PIDS
from nodeagent.runtime.cgroups import Usage
from pinnace.podresources import MEMORY, STORAGE

PROC = Path("/proc")


def measure(
    capacity: Mapping[str, int], node: Usage, stored: int, *, state: Path, images: Path, proc: Path = PROC
) -> dict[str, Observation]:
    """Every signal that can be read. `capacity` is the node's own where it has one; `node` what its cgroup uses,
    `stored` the bytes of its pods' local storage and of its images."""
    found: dict[str, Observation] = {}
    if MEMORY in capacity:
        found["memory.available"] = _left(capacity[MEMORY], node.memory)
    else:
        _put(found, "memory.available", _memory(proc))
    for name, folder in (("nodefs", state), ("imagefs", images)):
        with contextlib.suppress(OSError):
            disk = os.statvfs(folder)
            found[f"{name}.available"] = Observation(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)
            # Some file systems (btrfs) have no fixed number of inodes and say zero.
            if disk.f_files:
                found[f"{name}.inodesFree"] = Observation(disk.f_favail, disk.f_files)
        if STORAGE in capacity:
            found[f"{name}.available"] = _left(capacity[STORAGE], stored)
    if PIDS in capacity:
        found["pid.available"] = _left(capacity[PIDS], node.pids)
    else:
        _put(found, "pid.available", _processes(proc))
    return found


def _left(capacity: int, used: int) -> Observation:
    return Observation(max(capacity - used, 0), capacity)


def _put(found: dict[str, Observation], signal: str, seen: Observation | None) -> None:
    if seen is not None:
        found[signal] = seen


def _memory(proc: Path) -> Observation | None:
    """Total less the working set: what is free, and file pages that can be dropped at once."""
    try:
        lines = (line.split() for line in (proc / "meminfo").read_text().splitlines())
        kib = {words[0]: int(words[1]) for words in lines if len(words) > 1}
        return Observation((kib["MemFree:"] + kib["Inactive(file):"]) << 10, kib["MemTotal:"] << 10)
    except (OSError, KeyError, ValueError):
        return None


def max_processes(proc: Path = PROC) -> int:
    """The kernel's bound on tasks; zero when it cannot be read."""
    try:
        return min(int((proc / "sys/kernel" / name).read_text()) for name in ("pid_max", "threads-max"))
    except (OSError, ValueError):
        return 0


def _processes(proc: Path) -> Observation | None:
    most = max_processes(proc)
    try:
        # The fourth field of loadavg: runnable/existing tasks (proc_loadavg(5)).
        tasks = int((proc / "loadavg").read_text().split()[3].partition("/")[2])
    except (OSError, ValueError, IndexError):
        return None
    return _left(most, tasks) if most else None
