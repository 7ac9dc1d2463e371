"""Whether a container's end was an OOM kill by the kernel, or another SIGKILL.

The kernel counts the processes of a cgroup that it killed so, whichever cgroup ran short: the container's, its pod's or the
node's. On v2 it takes the container as a whole (memory.oom.group), so a count is an end. On v1 it may take one process and
leave the rest, and a SIGKILL from elsewhere long afterwards is no OOM: there we are told when it happens, and an end counts
only shortly after that.
"""

from __future__ import annotations

import contextlib
import os
import time

from nodeagent.linux import smallfiles

# Seconds from the kernel's word to the end of what it killed: gigabytes take a while to be given back.
SHORTLY = 5.0


class Watch:
    """Over the memory cgroup among `folders`; `fds` are to be polled, and `notice` called when one is ready."""

    def __init__(self, folders: list[str]) -> None:
        self._folders = folders
        self._before = _kills(folders)
        self._noticed: float | None = None
        self.fds = _notifications(folders)

    def notice(self) -> None:
        """The kernel is looking for something to kill in this cgroup."""
        for fd in self.fds:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(fd)
                self._noticed = time.monotonic()

    def killed(self) -> bool:
        """Asked at the container's end: whether that was the kernel."""
        self.notice()
        if _kills(self._folders) <= self._before:
            return False
        return not self.fds or (self._noticed is not None and time.monotonic() - self._noticed < SHORTLY)


def _kills(folders: list[str]) -> int:
    for folder in folders:
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(FileNotFoundError):
                for line in smallfiles.read(f"{folder}/{name}").splitlines():
                    key, _, value = line.partition(b" ")
                    if key == b"oom_kill":
                        return int(value)
    return 0


def _notifications(folders: list[str]) -> tuple[int, ...]:
    """v1's way of telling (cgroup-v1/memory.rst, 10. OOM Control); none on v2, or where the kernel has it no more."""
    for folder in folders:
        if not os.path.exists(f"{folder}/memory.oom_control"):
            continue
        told = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            control = os.open(f"{folder}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            try:
                smallfiles.write(f"{folder}/cgroup.event_control", b"%d %d" % (told, control))
            finally:
                os.close(control)
        except OSError:
            os.close(told)
            return ()
        return (told,)
    return ()
