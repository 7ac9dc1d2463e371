"""Packing and unpacking tar streams below a root folder, by descriptor; the stream is standard input or output.

Everything is opened relative to a folder that is held open, and no link is followed but in the path that was asked for,
whose links stay inside the root. Memory does not grow with the size or the number of files. /proc is never used: it is
the container's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tarfile

from nodeagent.runtime.native import syscalls as sc

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

CHUNK = 64 << 10
# Folders in folders: each is a descriptor that is open meanwhile.
MAX_DEPTH = 200
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_SINK = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC


class Refused(OSError):
    """Something that is not packed or unpacked; the text says why."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.strerror = text


def warm() -> None:
    """Have everything imported that the library would import on first use."""
    info = tarfile.TarInfo("é" * 200)
    info.size = 1 << 40
    info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def pack(root: int, path: str, out: IO[bytes]) -> int:
    """What is at `path`, named by the last part of it. Returns 0, or 1 when something was left out. Raises OSError."""
    name = path.rstrip("/").rpartition("/")[2] or "root"
    tar = tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK)
    packer = _Packer(tar)
    probe = sc.openat2(root, path, sc.O_PATH)
    kind = os.fstat(probe).st_mode
    os.close(probe)
    if stat.S_ISDIR(kind):
        packer.folder(name, sc.openat2(root, path, _FOLDER), 0)
    elif stat.S_ISREG(kind):
        packer.file(name, sc.openat2(root, path, _FILE))
    else:
        raise Refused(f"{path} is neither a file nor a folder")
    tar.close()
    return packer.code


class _Packer:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.code = 0

    def _skip(self, name: str, why: str) -> None:
        self.code = 1
        os.write(2, f"{name}: {why}\n".encode(errors="surrogateescape"))

    def folder(self, name: str, fd: int, depth: int) -> None:
        """Takes the descriptor over."""
        try:
            self._tar.addfile(_info(name, os.fstat(fd), tarfile.DIRTYPE))
            if depth >= MAX_DEPTH:
                self._skip(name, f"more than {MAX_DEPTH} folders deep")
                return
            with os.scandir(fd) as entries:
                for entry in entries:
                    try:
                        self._entry(f"{name}/{entry.name}", entry.name, fd, depth)
                    except BrokenPipeError:
                        raise
                    except OSError as error:
                        self._skip(f"{name}/{entry.name}", error.strerror or str(error))
        finally:
            os.close(fd)

    def _entry(self, name: str, leaf: str, parent: int, depth: int) -> None:
        status = os.stat(leaf, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            self.folder(name, os.open(leaf, _FOLDER | os.O_NOFOLLOW, dir_fd=parent), depth + 1)
        elif stat.S_ISREG(status.st_mode):
            self.file(name, os.open(leaf, _FILE | os.O_NOFOLLOW, dir_fd=parent))
        elif stat.S_ISLNK(status.st_mode):
            info = _info(name, status, tarfile.SYMTYPE)
            info.linkname = os.readlink(leaf, dir_fd=parent)
            self._tar.addfile(info)
        else:
            self._skip(name, "a device, pipe or socket is not copied")

    def file(self, name: str, fd: int) -> None:
        """Takes the descriptor over."""
        with open(fd, "rb", buffering=0) as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise Refused("it changed while it was read")
            info = _info(name, status, tarfile.REGTYPE)
            info.size = status.st_size
            content = _Exactly(file)
            self._tar.addfile(info, content)  # type: ignore[arg-type]
            if content.short:
                self._skip(name, "it became shorter while it was read")


class _Exactly:
    """A file that always has as much as its header said, with zeros for what is gone meanwhile."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.short = False

    def read(self, size: int, /) -> bytes:
        data = b""
        while len(data) < size:
            chunk = self._file.read(size - len(data))
            if not chunk:
                self.short = True
                return data + b"\0" * (size - len(data))
            data += chunk
        return data


def _info(name: str, status: os.stat_result, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = kind, stat.S_IMODE(status.st_mode)
    info.uid, info.gid, info.mtime = status.st_uid, status.st_gid, int(status.st_mtime)
    return info


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
        return sc.openat2(root, path, _FOLDER), ""
    except (FileNotFoundError, NotADirectoryError):
        if path.endswith("/"):
            raise Refused(f"{path}: no such folder") from None
    folder, _, name = path.rpartition("/")
    try:
        return sc.openat2(root, folder or "/", _FOLDER), _parts(name)[0]
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
            following = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=current)
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
