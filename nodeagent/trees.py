"""Deleting what containers leave behind, however deep they nested it.

`shutil.rmtree` takes one call and one descriptor for each level, so a container that makes folders in folders could make its
pod undeletable. Here every folder is lifted to the top before its content goes: two descriptors and no recursion.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(path: Path) -> None:
    """Delete a folder and all in it; none is no error. No symlink is followed and no other file system entered.

    Raises OSError; what could not be deleted is then left.
    """
    try:
        root = os.open(path, _OPEN)
    except FileNotFoundError:
        return
    try:
        fresh = map("..lifted-{}".format, itertools.count())
        while entries := _folders(root):
            for name in entries:
                _empty(root, name, fresh)
    finally:
        os.close(root)
    os.rmdir(path)


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


def _empty(root: int, name: str, fresh: Iterator[str]) -> None:
    """Delete a folder of the root; the folders in it become folders of the root."""
    child = os.open(name, _OPEN, dir_fd=root)
    try:
        if os.fstat(child).st_dev != os.fstat(root).st_dev:
            raise OSError(errno.EBUSY, "something is mounted there", name)
        for inner in _folders(child):
            _lift(child, inner, root, fresh)
    finally:
        os.close(child)
    os.rmdir(name, dir_fd=root)


def _lift(parent: int, name: str, root: int, fresh: Iterator[str]) -> None:
    for target in fresh:
        try:
            os.rename(name, target, src_dir_fd=parent, dst_dir_fd=root)
            return
        except OSError as error:
            # A name that the container took: the next one.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
