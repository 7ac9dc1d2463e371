"""Deleting what containers leave behind, however deep they nested it.

`shutil.rmtree` takes one call and one descriptor for each level, so a container that makes folders in folders could make its
pod undeletable. This one goes down and comes back by `..`, with two descriptors and no recursion.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Generator, Iterator
from pathlib import Path

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(path: Path | str, *, dir_fd: int | None = None) -> None:
    """Delete a directory and all in it; none is no error. No symlink is followed and no other file system entered.

    With `dir_fd` the path is relative to that directory. Raises OSError; what could not be deleted is then left.
    """
    for _ in removing(path, dir_fd=dir_fd):
        pass


def removing(path: Path | str, *, dir_fd: int | None = None) -> Iterator[None]:
    """`remove` in steps of about one entry. A caller may pause between two, and gives it up by closing it.

    Another deletion of the same tree may be under way: what it has deleted is no error."""
    try:
        descriptor = os.open(path, _OPEN, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    walk = _Walk(descriptor)
    try:
        yield from walk.steps()
    finally:
        walk.close()
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(path, dir_fd=dir_fd)


class _Walk:
    """Where a deletion is: the folder that is open, and of it and each above, its identity and the folders left in it."""

    def __init__(self, descriptor: int) -> None:
        self._here = descriptor
        self._names: list[str] = []
        self._identities = [_identity(descriptor)]
        self._left: list[list[str]] = []

    def steps(self) -> Iterator[None]:
        """Delete an entry with each step, until the top is empty."""
        self._left.append((yield from _emptied(self._here)))
        while self._left[-1] or self._names:
            if not self._left[-1]:
                self._up()
                yield
            elif self._down(self._left[-1].pop()):
                self._left.append((yield from _emptied(self._here)))

    def _down(self, name: str) -> bool:
        """Whether it is there."""
        try:
            child = os.open(name, _OPEN, dir_fd=self._here)
        except FileNotFoundError:
            return False
        os.close(self._here)
        self._here = child
        identity = _identity(child)
        if identity[0] != self._identities[0][0]:
            raise OSError(errno.EBUSY, "something is mounted there", name)
        self._names.append(name)
        self._identities.append(identity)
        return True

    def _up(self) -> None:
        parent = os.open("..", _OPEN, dir_fd=self._here)
        os.close(self._here)
        self._here = parent
        self._identities.pop()
        self._left.pop()
        if _identity(parent) != self._identities[-1]:
            raise OSError(errno.ESTALE, "it was moved while it was deleted", self._names[-1])
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(self._names.pop(), dir_fd=parent)

    def close(self) -> None:
        os.close(self._here)


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _emptied(descriptor: int) -> Generator[None, None, list[str]]:
    """Delete the files of a folder, a step each; returns the names of the folders in it.

    Listed an entry at a time, for there may be millions, and again until there is no file: while entries are deleted, a
    listing may miss others (readdir(3))."""
    while True:
        found: list[str] = []
        deleted = False
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found.append(entry.name)
                else:
                    deleted = True
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(entry.name, dir_fd=descriptor)
                yield
        if not deleted:
            return found
