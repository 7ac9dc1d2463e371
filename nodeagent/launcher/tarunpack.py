"""A tar stream into a folder or under a name; see `tarstreams`."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tarfile

from nodeagent.launcher.tarstreams import CHUNK, FOLDER, MAX_DEPTH, Refused
from nodeagent.linux import syscalls as sc

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

_SINK = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack(root: int, path: str, source: IO[bytes]) -> int:
    """A tree into the folder `path`, or under that name where there is no such folder. Returns 0. Raises OSError."""
    os.umask(0)
    base, name = _destination(root, path)
    unpacker = _Unpacker(base)
    try:
        with tarfile.open(fileobj=source, mode="r|", bufsize=CHUNK) as tar:
            while (member := tar.next()) is not None:
                # The library keeps all it has seen.
                vars(tar)["members"] = []
                parts = _parts(member.name)
                unpacker.take(tar, member, [name, *parts[1:]] if name else parts)
    except tarfile.TarError as error:
        raise Refused(f"not a usable tar stream: {error}") from None
    unpacker.finish()
    return 0


def _destination(root: int, path: str) -> tuple[int, str]:
    """A folder, and the name that replaces the tree's own, empty to keep that."""
    try:
        return sc.openat2(root, path, FOLDER), ""
    except (FileNotFoundError, NotADirectoryError):
        if path.endswith("/"):
            raise Refused(f"{path}: no such folder") from None
    folder, _, name = path.rpartition("/")
    try:
        return sc.openat2(root, folder or "/", FOLDER), _parts(name)[0]
    except (FileNotFoundError, NotADirectoryError):
        raise Refused(f"{folder}: no such folder") from None


def _parts(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or not parts or len(parts) > MAX_DEPTH:
        raise Refused(f"{name!r} is not a name inside the destination")
    return parts


def _descend(base: int, parts: list[str]) -> int:
    """The folder, made where it is missing; no link on the way is followed."""
    current = os.dup(base)
    for part in parts:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=current)
            following = os.open(part, FOLDER | os.O_NOFOLLOW, dir_fd=current)
        except OSError as error:
            raise Refused(f"{'/'.join(parts)}: {error.strerror}") from None
        finally:
            os.close(current)
        current = following
    return current


class _Unpacker:
    def __init__(self, base: int) -> None:
        self._base = base
        # Folders whose owner may not write to them: what goes into them goes first.
        self._closed: list[tuple[list[str], int]] = []

    def take(self, tar: tarfile.TarFile, member: tarfile.TarInfo, parts: list[str]) -> None:
        """Raises Refused."""
        if member.isdir():
            self._folder(parts, member.mode & 0o777)
            return
        parent = _descend(self._base, parts[:-1])
        try:
            if member.isreg():
                _file(tar, member, parent, parts[-1])
            elif member.issym():
                _free(parent, parts[-1])
                os.symlink(member.linkname, parts[-1], dir_fd=parent)
            else:
                raise Refused("only files, folders and symbolic links are unpacked")
        except OSError as error:
            raise Refused(f"{'/'.join(parts)}: {error.strerror}") from None
        finally:
            os.close(parent)

    def _folder(self, parts: list[str], mode: int) -> None:
        fd = _descend(self._base, parts)
        try:
            # A folder of someone else's, such as /tmp, stays as it is.
            with contextlib.suppress(PermissionError):
                os.fchmod(fd, mode | 0o700)
        finally:
            os.close(fd)
        if mode & 0o700 != 0o700:
            self._closed.append((parts, mode))

    def finish(self) -> None:
        for parts, mode in reversed(self._closed):
            fd = _descend(self._base, parts)
            os.fchmod(fd, mode)
            os.close(fd)


def _file(tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, leaf: str) -> None:
    """Into the file that is there, if there is one: it may be a mount."""
    try:
        fd = os.open(leaf, _SINK, 0o600, dir_fd=parent)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        os.unlink(leaf, dir_fd=parent)
        fd = os.open(leaf, _SINK | os.O_EXCL, 0o600, dir_fd=parent)
    with open(fd, "wb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Refused("there is something else than a file")
        content = tar.extractfile(member)
        while content is not None and (data := content.read(CHUNK)):
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        with contextlib.suppress(PermissionError):
            # Another user's file that we may write to keeps its mode.
            os.fchmod(fd, member.mode & 0o777)


def _free(parent: int, leaf: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(leaf, dir_fd=parent, follow_symlinks=False).st_mode):
            raise Refused("a folder is in the way of a link")
        os.unlink(leaf, dir_fd=parent)
