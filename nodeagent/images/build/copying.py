"""Files from one tree into another, by descriptor: what COPY and ADD do, and WORKDIR's folder.

Both trees are hostile. A source's path is resolved with the source's root as `/`, a target's with the image's root as
`/` (openat2 RESOLVE_IN_ROOT), so no link of either leads out; below them no link is followed at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from nodeagent.images.build.errors import BuildError
from nodeagent.runtime.native import syscalls

MAX_DEPTH = 200
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_CHUNK = 1 << 20
_CAPABILITY = "security.capability"


@dataclass(frozen=True, slots=True)
class Manner:
    """How copies look: `owner` is uid and gid, `mode` of all that is copied; None: as the source has it."""

    owner: tuple[int, int] | None = (0, 0)
    mode: int | None = None


def make_folder(root: int, path: str, manner: Manner = Manner()) -> int:
    """A descriptor of the folder `path` in `root`; what is missing of it is made. Raises BuildError, OSError."""
    current, done = os.dup(root), ""
    try:
        for part in [part for part in path.split("/") if part not in ("", ".")]:
            done = f"{done}/{part}"
            try:
                following = syscalls.openat2(root, done, _DIRECTORY)
            except FileNotFoundError:
                following = _made(root, current, done, manner)
            except NotADirectoryError:
                raise BuildError(f"{done} in the image is no folder") from None
            os.close(current)
            current = following
    except BaseException:
        os.close(current)
        raise
    return current


def _made(root: int, parent: int, path: str, manner: Manner) -> int:
    name = posixpath.basename(path)
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        raise BuildError(f"{path} in the image is a link to nothing") from None
    if manner.owner is not None:
        os.chown(name, *manner.owner, dir_fd=parent, follow_symlinks=False)
    return syscalls.openat2(root, path, _DIRECTORY)


def copy(root: int, target: str, source: int, path: str, manner: Manner) -> None:
    """Copy `path` of the tree `source` into the image's `root` at `target`; of a folder the content, not the folder.

    A file goes into the target when that ends with a slash or is a folder. Raises BuildError, OSError.
    """
    with _opened(source, path) as item:
        if not stat.S_ISDIR(os.fstat(item).st_mode):
            _file_to(root, target, source, path, manner)
            return
        into = make_folder(root, target, manner)
        try:
            _folder(item, into, manner, 0)
        finally:
            os.close(into)


@contextlib.contextmanager
def _opened(root: int, path: str) -> Iterator[int]:
    """By O_PATH, a link at its end followed: COPY of a link is COPY of what it leads to."""
    descriptor = syscalls.openat2(root, path or ".", syscalls.O_PATH)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _file_to(root: int, target: str, source: int, path: str, manner: Manner) -> None:
    if target.endswith("/") or _is_folder(root, target):
        parent, name = target, posixpath.basename(path)
    else:
        parent, name = posixpath.split(target)
    into = make_folder(root, parent, manner)
    try:
        # Not blocking: it may be a fifo, which is refused below.
        item = syscalls.openat2(source, path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(item).st_mode):
                raise BuildError(f"{path}: neither file nor folder")
            _write(item, into, name, manner)
        finally:
            os.close(item)
    finally:
        os.close(into)


def _is_folder(root: int, path: str) -> bool:
    try:
        os.close(syscalls.openat2(root, path, _DIRECTORY))
    except OSError:
        return False
    return True


def _folder(source: int, into: int, manner: Manner, depth: int) -> None:
    """The content of a folder, by O_PATH descriptor, into another."""
    if depth > MAX_DEPTH:
        raise BuildError(f"folders are nested deeper than {MAX_DEPTH}")
    readable = os.open(".", _DIRECTORY | os.O_CLOEXEC, dir_fd=source)
    try:
        for name in sorted(os.listdir(readable)):
            status = os.lstat(name, dir_fd=readable)
            try:
                _entry(readable, name, status, into, manner, depth)
            except OSError as error:
                raise BuildError(f"{name[:200]}: {error.strerror or error}") from None
    finally:
        os.close(readable)


def _entry(source: int, name: str, status: os.stat_result, into: int, manner: Manner, depth: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        _subfolder(source, name, status, into, manner, depth)
    elif stat.S_ISLNK(status.st_mode):
        link = os.readlink(name, dir_fd=source)
        _make_room(into, name)
        os.symlink(link, name, dir_fd=into)
        os.chown(name, *(manner.owner or (status.st_uid, status.st_gid)), dir_fd=into, follow_symlinks=False)
    elif stat.S_ISREG(status.st_mode):
        item = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        try:
            _write(item, into, name, manner)
        finally:
            os.close(item)
    elif stat.S_ISFIFO(status.st_mode):
        _make_room(into, name)
        os.mkfifo(name, 0o600, dir_fd=into)
        _dress(into, name, status, manner)
    else:
        raise BuildError(f"{name[:200]}: a device, a socket or a whiteout, which cannot be copied")


def _subfolder(source: int, name: str, status: os.stat_result, into: int, manner: Manner, depth: int) -> None:
    made = True
    try:
        os.mkdir(name, 0o700, dir_fd=into)
    except FileExistsError:
        made = False
    try:
        below = os.open(name, _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=into)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise BuildError(f"{name[:200]}: a folder cannot replace the file or link of that name in the image") from None
        raise
    try:
        item = os.open(name, _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        try:
            _folder(item, below, manner, depth + 1)
        finally:
            os.close(item)
    finally:
        os.close(below)
    if made:
        # After its content, which would change its time. A folder that was there stays as it was.
        _dress(into, name, status, manner)


def _make_room(into: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=into)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        raise BuildError(f"{name[:200]}: a file cannot replace the folder of that name in the image") from None


def _write(item: int, into: int, name: str, manner: Manner) -> None:
    status = os.fstat(item)
    _make_room(into, name)
    copied = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=into)
    try:
        while os.sendfile(copied, item, None, _CHUNK):
            pass
        os.fchown(copied, *(manner.owner or (status.st_uid, status.st_gid)))
        # After the owner, whose change clears setuid bits and capabilities.
        os.fchmod(copied, stat.S_IMODE(status.st_mode) if manner.mode is None else manner.mode)
        if manner.owner is None:
            with contextlib.suppress(OSError):
                os.setxattr(copied, _CAPABILITY, os.getxattr(item, _CAPABILITY))
        os.utime(copied, ns=(status.st_mtime_ns, status.st_mtime_ns))
    finally:
        os.close(copied)


def _dress(into: int, name: str, status: os.stat_result, manner: Manner) -> None:
    os.chown(name, *(manner.owner or (status.st_uid, status.st_gid)), dir_fd=into, follow_symlinks=False)
    os.chmod(name, stat.S_IMODE(status.st_mode) if manner.mode is None else manner.mode, dir_fd=into)
    os.utime(name, ns=(status.st_mtime_ns, status.st_mtime_ns), dir_fd=into)
