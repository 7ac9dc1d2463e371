"""Local files and folders as tar streams, both ways. What comes is not trusted: nothing is written outside its place.

Members are created below a folder that is held open, and no link is followed on the way: one that an earlier member made
leads nowhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from pinnace.errors import BadRequest

CHUNK = 64 << 10
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_SINK = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Says something that a person should know of, and that stops nothing.
Warn = Callable[[str], None]


def pack(source: Path, out: IO[bytes], *, name: str, warn: Warn) -> None:
    """`source` as `name` and all below it. Devices, pipes and sockets are left out. Raises OSError, BadRequest."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK) as tar:
        _add(tar, os.path.realpath(source), name, warn)


def _add(tar: tarfile.TarFile, path: str, name: str, warn: Warn) -> None:
    status = os.lstat(path)
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
    if stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
        for entry in sorted(os.listdir(path)):
            _add(tar, f"{path}/{entry}", f"{name}/{entry}", warn)
    elif stat.S_ISLNK(status.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
        tar.addfile(info)
    elif stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            info.size = os.fstat(file.fileno()).st_size
            tar.addfile(info, file)
    else:
        warn(f"skipping {path}: a device, pipe or socket is not copied")


def pack_content(content: IO[bytes], out: IO[bytes], *, name: str) -> None:
    """One file of that content, which can be sought in."""
    info = tarfile.TarInfo(name)
    info.size = content.seek(0, os.SEEK_END)
    content.seek(0)
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK) as tar:
        tar.addfile(info, content)


def unpack(source: Any, destination: Path, *, warn: Warn) -> int:
    """The tree of a stream into the folder `destination`, or under that name where there is no such folder.

    Returns how many members there were. Raises BadRequest for one that would leave its place, and OSError."""
    folder, name = (destination, "") if destination.is_dir() else (destination.parent, destination.name)
    if not folder.is_dir() or (name and os.fspath(destination).endswith("/")):
        raise BadRequest(f"{folder}: no such directory")
    base = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    count = 0
    closed: list[tuple[list[str], int]] = []
    try:
        with tarfile.open(fileobj=source, mode="r|", bufsize=CHUNK) as tar:
            while (member := tar.next()) is not None:
                # The library keeps all it has seen.
                vars(tar)["members"] = []
                parts = _parts(member.name)
                _take(tar, member, base, [name, *parts[1:]] if name else parts, closed=closed, warn=warn)
                count += 1
        for parts, mode in reversed(closed):
            fd = _descend(base, parts)
            os.fchmod(fd, mode)
            os.close(fd)
    except tarfile.ReadError as error:
        if count or "empty" not in str(error):
            raise BadRequest(f"the stream is not a usable tar: {error}") from None
    finally:
        os.close(base)
    return count


def _parts(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or not parts or "\0" in name:
        raise BadRequest(f"the container sent a file named {name!r}, which would lie outside the destination")
    return parts


def _descend(base: int, parts: list[str]) -> int:
    current = os.dup(base)
    for part in parts:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=current)
            following = os.open(part, _FOLDER, dir_fd=current)
        except OSError as error:
            why = "a link is in the way" if error.errno in (errno.ELOOP, errno.ENOTDIR) else error.strerror
            raise BadRequest(f"{'/'.join(parts)}: {why}") from None
        finally:
            os.close(current)
        current = following
    return current


def _take(
    tar: tarfile.TarFile, member: tarfile.TarInfo, base: int, parts: list[str], *,
    closed: list[tuple[list[str], int]], warn: Warn,
) -> None:  # fmt: skip
    path, mode = "/".join(parts), member.mode & 0o777
    if member.isdir():
        fd = _descend(base, parts)
        os.fchmod(fd, mode | 0o700)
        os.close(fd)
        if mode & 0o700 != 0o700:
            # What goes into it goes first.
            closed.append((parts, mode))
        return
    parent = _descend(base, parts[:-1])
    try:
        if member.isreg():
            _file(tar, member, parent, parts[-1])
        elif not member.issym():
            warn(f"skipping {path}: only files, directories and symbolic links are copied")
        elif _leads_out(parts, member.linkname):
            warn(f'skipping symlink: "{path}" -> "{member.linkname}": it leads out of the copied tree')
        else:
            _link(member.linkname, parent, parts[-1])
    except OSError as error:
        raise BadRequest(f"{path}: {error.strerror}") from None
    finally:
        os.close(parent)


def _leads_out(parts: list[str], target: str) -> bool:
    """Whether a link at `parts` points out of the tree, whose top is their first."""
    depth = len(parts) - 2
    if target.startswith("/"):
        return True
    for part in target.split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        if depth < 0:
            return True
    return False


def _file(tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, leaf: str) -> None:
    try:
        fd = os.open(leaf, _SINK, 0o600, dir_fd=parent)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        os.unlink(leaf, dir_fd=parent)
        fd = os.open(leaf, _SINK | os.O_EXCL, 0o600, dir_fd=parent)
    with open(fd, "wb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EEXIST, "there is something else than a file")
        content = tar.extractfile(member)
        while content is not None and (data := content.read(CHUNK)):
            file.write(data)
        os.fchmod(fd, member.mode & 0o777)


def _link(target: str, parent: int, leaf: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(leaf, dir_fd=parent)
    os.symlink(target, leaf, dir_fd=parent)
