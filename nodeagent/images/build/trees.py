"""Removing a folder that a RUN has written, however deep: shutil's own way is recursive, and a tree can be deeper than that.

Nothing is followed, and paths of any length work, for everything goes by descriptor.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from nodeagent.runtime.native import syscalls

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(folder: Path) -> None:
    """Delete `folder` and all below it; not having it is no error. Raises OSError."""
    try:
        current = os.open(folder, _DIRECTORY)
    except FileNotFoundError:
        return
    try:
        # One list of folders still to be emptied for each level down to `current`.
        levels = [_clear(current)]
        while levels:
            if levels[-1]:
                below = os.open(levels[-1][-1], _DIRECTORY, dir_fd=current)
                os.close(current)
                current = below
                levels.append(_clear(current))
                continue
            levels.pop()
            if levels:
                above = os.open("..", _DIRECTORY, dir_fd=current)
                os.close(current)
                current = above
                os.rmdir(levels[-1].pop(), dir_fd=current)
    finally:
        os.close(current)
    os.rmdir(folder)


def _clear(folder: int) -> list[str]:
    """Delete what is no folder; returns the names of those that are."""
    folders = []
    for name in os.listdir(folder):
        if stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
            folders.append(name)
        else:
            os.unlink(name, dir_fd=folder)
    return folders


def unmount(folder: Path) -> None:
    """Detach whatever is mounted below `folder`: a view whose builder was killed in the very moment. Raises OSError."""
    with open("/proc/self/mountinfo") as file:
        points = [line.split()[4] for line in file]
    for point in reversed(points):
        if point.startswith(f"{folder}/"):
            syscalls.umount(point, syscalls.MNT_DETACH)
