"""The cgroups of a lab's nodes: every process in them belongs to a container, also one whose monitor has ended."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from cli.lab.layout import Lab

ROOT = Path("/sys/fs/cgroup")
REMOVED_WITHIN = 10.0


def folders(lab: Lab, nodes: list[str]) -> list[Path]:
    """The top folder of each node in each hierarchy, as far as they are there."""
    roots = [ROOT, *(path for path in ROOT.iterdir() if path.is_dir() and not path.is_symlink())]
    names = [lab.cgroup(node) for node in nodes]
    return [root / name for root in roots for name in names if (root / name).is_dir()]


def pids(lab: Lab, node: str) -> list[int]:
    found: set[int] = set()
    for folder in folders(lab, [node]):
        for base, _, _ in os.walk(folder):
            with contextlib.suppress(OSError):
                found |= {int(pid) for pid in Path(base, "cgroup.procs").read_text().split()}
    # 0 stands for a process outside of this pid namespace, and to kill(2) it is this process's own group.
    return sorted(found - {0})


def remove(lab: Lab, nodes: list[str]) -> None:
    """Once the kernel has taken the last processes out of them. What resists stays, for `folders` to tell."""
    deadline = time.monotonic() + REMOVED_WITHIN
    while (left := folders(lab, nodes)) and time.monotonic() < deadline:
        for path in left:
            for base, _, _ in os.walk(path, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(base)
        if folders(lab, nodes):
            time.sleep(0.02)
