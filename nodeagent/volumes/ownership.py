"""fsGroup: a volume's files belong to a group of the pod's, which may use them.

A container may have put anything into a volume, so everything is reached by descriptor, one name at a time, and no symlink
is followed; a symlink itself changes its group only. Source: the rules of kubelet's SetVolumeOwnership.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

# What the group gains: of files, and of folders besides (setgid, so that new files are the group's too).
READ, WRITE = 0o440, 0o660
_FOLDER = stat.S_ISGID | 0o110
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Folders below each other; one descriptor is open for each.
MAX_DEPTH = 256


def give(root: Path, group: int, *, read_only: bool = False, on_root_mismatch: bool = False) -> None:
    """Give a tree to a group. With `on_root_mismatch` a root that is already as wanted stands for all of it.

    Raises OSError, also for a tree deeper than MAX_DEPTH.
    """
    added = READ if read_only else WRITE
    descriptor = os.open(root, _OPEN)
    try:
        if not (on_root_mismatch and _is_given(os.fstat(descriptor), group, added)):
            _give_folder(descriptor, group, added, MAX_DEPTH)
    finally:
        os.close(descriptor)


def _is_given(status: os.stat_result, group: int, added: int) -> bool:
    wanted = added | _FOLDER
    return status.st_gid == group and status.st_mode & wanted == wanted


def _give_folder(descriptor: int, group: int, added: int, depth: int) -> None:
    if not depth:
        raise OSError("folders are nested too deeply to set their group")
    for name in os.listdir(descriptor):
        _give_entry(descriptor, name, group, added, depth)
    # A folder after its content: a root that is as wanted says that all below it is (OnRootMismatch).
    os.fchown(descriptor, -1, group)
    os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) | added | _FOLDER)


def _give_entry(parent: int, name: str, group: int, added: int, depth: int) -> None:
    try:
        kind = stat.S_IFMT(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
        if kind == stat.S_IFDIR:
            child = os.open(name, _OPEN, dir_fd=parent)
            try:
                _give_folder(child, group, added, depth - 1)
            finally:
                os.close(child)
        elif kind == stat.S_IFREG:
            # O_NONBLOCK: what was a file may be a pipe by now.
            child = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
            try:
                os.fchown(child, -1, group)
                os.fchmod(child, stat.S_IMODE(os.fstat(child).st_mode) | added)
            finally:
                os.close(child)
        else:
            os.chown(name, -1, group, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        # Gone meanwhile.
        return
