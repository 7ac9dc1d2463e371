"""Deleting what containers leave behind, however deep they nested it.

`shutil.rmtree` takes one call and one descriptor for each level, so a container that makes folders in folders could make its
pod undeletable. This one goes down and comes back by `..`, with two descriptors and no recursion.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(path: Path | str, *, dir_fd: int | None = None) -> None:
    """Delete a directory and all in it; none is no error. No symlink is followed and no other file system entered.

    With `dir_fd` the path is relative to that directory. Raises OSError; what could not be deleted is then left.
    """
    try:
        descriptor = os.open(path, _OPEN, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    walk = _Walk(descriptor)
    try:
        while walk.step():
            pass
    finally:
        walk.close()
    os.rmdir(path, dir_fd=dir_fd)


class _Walk:
    """Where a deletion is: the folder that is open, and of it and each above, its identity and the folders left in it."""

    def __init__(self, descriptor: int) -> None:
        self._here = descriptor
        self._names: list[str] = []
        self._identities = [_identity(descriptor)]
        self._left = [_folders(descriptor)]

    def step(self) -> bool:
        """One folder down or up; False once the top is empty."""
        if self._left[-1]:
            self._down(self._left[-1].pop())
        elif self._names:
            self._up()
        else:
            return False
        return True

    def _down(self, name: str) -> None:
        child = os.open(name, _OPEN, dir_fd=self._here)
        os.close(self._here)
        self._here = child
        identity = _identity(child)
        if identity[0] != self._identities[0][0]:
            raise OSError(errno.EBUSY, "something is mounted there", name)
        self._names.append(name)
        self._identities.append(identity)
        self._left.append(_folders(child))

    def _up(self) -> None:
        parent = os.open("..", _OPEN, dir_fd=self._here)
        os.close(self._here)
        self._here = parent
        self._identities.pop()
        self._left.pop()
        if _identity(parent) != self._identities[-1]:
            raise OSError(errno.ESTALE, "it was moved while it was deleted", self._names[-1])
        os.rmdir(self._names.pop(), dir_fd=parent)

    def close(self) -> None:
        os.close(self._here)


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _folders(descriptor: int) -> list[str]:
    """Delete the files of a folder; returns the names of the folders in it."""
    found = []
    with os.scandir(descriptor) as entries:
        listed = list(entries)
    for entry in listed:
        if entry.is_dir(follow_symlinks=False):
            found.append(entry.name)
        else:
            os.unlink(entry.name, dir_fd=descriptor)
    return found
