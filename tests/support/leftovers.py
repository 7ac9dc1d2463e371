"""What a run of tests leaves when it is cut off (SIGKILL, a machine that goes down): the next run removes it.

A machine of `runtimes` has a directory, cgroups, pinned namespaces and a launcher that outlives its agent. The names of the
directory and of the cgroups say who made them, so that runs side by side keep theirs.
"""

from __future__ import annotations

import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from nodeagent.linux import procfs, rmtree, syscalls
from nodeagent.runtime.cgroups import Cgroups

PLACE = Path("/tmp")
_ROOT = Path("/sys/fs/cgroup")
_OWNER = re.compile(r"(?:pnc-rt-|pinnace-t)(\d+)-(\d+)-.+")
_DETACH = 2
# Seconds until processes that were killed have left their cgroups.
WITHIN = 10.0


def _mark() -> str:
    """This process, by its pid and the time of its start."""
    return f"{os.getpid()}-{procfs.start_time(os.getpid())}"


def directory() -> Path:
    """A new directory for a machine. Not pytest's own: a Unix socket's path is short."""
    return Path(tempfile.mkdtemp(prefix=f"pnc-rt-{_mark()}-", dir=PLACE))


def cgroup(number: int) -> str:
    """The name of a machine's cgroups."""
    return f"pinnace-t{_mark()}-{number}"


def sweep() -> None:
    """Remove what runs have left that have ended. Raises TimeoutError when a process there does not end."""
    for name in _left(PLACE):
        _end(PLACE / name)
    for name in sorted({name for hierarchy in _hierarchies() for name in _left(hierarchy)}):
        _remove(Cgroups(name))
    for name in _left(PLACE):
        for point in sorted(_mounts(PLACE / name), reverse=True):
            syscalls.umount(point, _DETACH)
        rmtree.remove(PLACE / name)


def _hierarchies() -> list[Path]:
    return [_ROOT, *(path for path in _ROOT.iterdir() if path.is_dir())]


def _left(place: Path) -> list[str]:
    found = ((path.name, _OWNER.fullmatch(path.name)) for path in place.iterdir())
    return [name for name, owner in found if owner and not procfs.runs(int(owner[1]), int(owner[2]))]


def _end(folder: Path) -> None:
    """The launcher of a machine and its forks, which have its socket among their arguments."""
    for pid in processes(folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def processes(folder: Path) -> Iterator[int]:
    """Those that have a path below `folder` among their arguments."""
    start = f"{folder}/".encode()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if any(word.startswith(start) for word in words):
                yield int(entry.name)


def _mounts(folder: Path) -> list[str]:
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [point for point in points if point.startswith(f"{folder}/")]


def _remove(cgroups: Cgroups) -> None:
    deadline = time.monotonic() + WITHIN
    cgroups.kill("")
    while not cgroups.remove(""):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{cgroups.folders('')[0]} still has processes")
        time.sleep(0.02)
        cgroups.kill("")
