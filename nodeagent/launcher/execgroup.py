"""A cgroup for one exec, below its container's: what the command forks is found again, whatever process has adopted it.

Orphans in a container go to its PID 1, so neither a parent nor a session names them all. One hierarchy is enough to
find them; the limits of the others count for the container as a whole.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

TRIES = 100
# Seconds between tries.
PAUSE = 0.01
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class ExecGroup:
    """Everything is opened before the mount namespace is left, and used by descriptor from then on."""

    def __init__(self, folders: list[str]) -> None:
        """`folders` are the container's cgroups. Raises OSError."""
        tracked = _tracked(folders)
        self._name = f"exec-{os.getpid()}"
        self._home = os.open(tracked, _FOLDER) if tracked else -1
        self._folder = self._make() if tracked else -1
        doors = [f"{folder}/{self._name}" if folder == tracked else folder for folder in folders]
        self._doors = [os.open(f"{folder}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for folder in doors]

    def _make(self) -> int:
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._name, 0o755, dir_fd=self._home)
        return os.open(self._name, _FOLDER, dir_fd=self._home)

    def join(self) -> None:
        """In the fork that becomes the command."""
        for door in self._doors:
            os.write(door, b"0")

    def kill(self) -> None:
        """SIGKILL to everything in it, and what is forked meanwhile."""
        if self._folder < 0:
            return
        try:
            door = os.open("cgroup.kill", os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._folder)
        except FileNotFoundError:
            # cgroup v1: until no process is found.
            for _ in range(TRIES):
                pids = self._pids()
                if not pids:
                    return
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            return
        os.write(door, b"1")
        os.close(door)

    def release(self) -> None:
        """What the command left running stays, as the container's."""
        if self._folder < 0:
            return
        home = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._home)
        for _ in range(TRIES):
            for pid in self._pids():
                with contextlib.suppress(ProcessLookupError):
                    os.write(home, b"%d" % pid)
            try:
                os.rmdir(self._name, dir_fd=self._home)
                return
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(PAUSE)

    def _pids(self) -> list[int]:
        try:
            with open(os.open("cgroup.procs", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)) as file:
                return [int(line) for line in file]
        except OSError:
            # The container has ended, and its cgroups with it.
            return []


def _tracked(folders: list[str]) -> str:
    """The hierarchy to find processes by: v2, or a v1 controller that takes a child without any setting."""
    for name in ("cgroup.controllers", "pids.max", "cpuacct.usage"):
        for folder in folders:
            if os.path.exists(f"{folder}/{name}"):
                return folder
    return ""
