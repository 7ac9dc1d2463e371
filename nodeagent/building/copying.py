"""Files from one tree into another, by descriptor: COPY and ADD, and the directory of WORKDIR.

Both trees are hostile. A source's path is resolved with the source's root as `/`, a target's with the image's root as
`/` (openat2 RESOLVE_IN_ROOT), so no symlink of either leads out; below them no symlink is followed at all.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from collections.abc import Iterator

from nodeagent.building.errors import BuildError
from nodeagent.building.fileattributes import BY_ROOT, FileAttributes
from nodeagent.building.selection import ALL, Selection
from nodeagent.building.treecopy import TreeCopy, write
from nodeagent.linux import syscalls

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


def make_directory(root: int, path: str, attributes: FileAttributes = BY_ROOT) -> int:
    """A descriptor of the directory `path` in `root`; missing parts are made. Raises BuildError, OSError."""
    current, done = os.dup(root), ""
    try:
        for part in [part for part in path.split("/") if part not in ("", ".")]:
            done = f"{done}/{part}"
            try:
                following = syscalls.openat2(root, done, _DIRECTORY)
            except FileNotFoundError:
                following = _made(root, current, done, attributes)
            except NotADirectoryError:
                raise BuildError(f"{done} in the image is not a directory") from None
            os.close(current)
            current = following
    except BaseException:
        os.close(current)
        raise
    return current


def _made(root: int, parent: int, path: str, attributes: FileAttributes) -> int:
    name = posixpath.basename(path)
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        raise BuildError(f"{path} in the image is a dangling symlink") from None
    if attributes.owner is not None:
        os.chown(name, *attributes.owner, dir_fd=parent, follow_symlinks=False)
    # Apart from mkdir, whose mode depends on the umask.
    os.chmod(name, attributes.mode_of_parents, dir_fd=parent)
    return syscalls.openat2(root, path, _DIRECTORY)


def copy(
    root: int, target: str, source: int, path: str, attributes: FileAttributes, *, selection: Selection = ALL,
    only: bool = True,
) -> None:  # fmt: skip
    """Copy `path` of the tree `source` into the image's `root` at `target`; of a directory the content, not itself.

    A file is copied into the target when that ends with a slash or is a directory; it must be one of the two unless the
    file is the `only` source. Raises BuildError, OSError.
    """
    with _opened(source, path) as item:
        if not stat.S_ISDIR(os.fstat(item).st_mode):
            if selection.takes_file(posixpath.basename(path)):
                _file_to(root, target, source, path, attributes, only=only)
            return
        into = make_directory(root, target, attributes)
        try:
            TreeCopy(into, attributes, selection).copy(item)
        finally:
            os.close(into)


@contextlib.contextmanager
def _opened(root: int, path: str) -> Iterator[int]:
    """By O_PATH, following a symlink at the end: COPY of a symlink is COPY of its target."""
    descriptor = syscalls.openat2(root, path or ".", syscalls.O_PATH)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _file_to(root: int, target: str, source: int, path: str, attributes: FileAttributes, *, only: bool) -> None:
    if target.endswith("/") or _is_directory(root, target):
        parent, name = target, posixpath.basename(path)
    elif only:
        parent, name = posixpath.split(target)
    else:
        raise BuildError("several sources need a destination that is a directory: end it with /")
    into = make_directory(root, parent, attributes)
    try:
        # Not blocking: it may be a fifo, which is refused below.
        item = syscalls.openat2(source, path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(item).st_mode):
                raise BuildError(f"{path}: neither a file nor a directory")
            write(item, into, name, attributes)
        finally:
            os.close(item)
    finally:
        os.close(into)


def _is_directory(root: int, path: str) -> bool:
    try:
        os.close(syscalls.openat2(root, path, _DIRECTORY))
    except OSError:
        return False
    return True
