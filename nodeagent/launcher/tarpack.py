"""A file or a folder as a tar stream; see `tarstreams`."""

from __future__ import annotations

import os
import stat
import tarfile

from nodeagent.launcher.tarstreams import CHUNK, FOLDER, MAX_DEPTH, Refused
from nodeagent.linux import syscalls as sc

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def pack(root: int, path: str, out: IO[bytes]) -> int:
    """What is at `path`, named by the last part of it. Returns 0, or 1 when something was left out. Raises OSError."""
    name = path.rstrip("/").rpartition("/")[2] or "root"
    tar = tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK)
    packer = _Packer(tar)
    probe = sc.openat2(root, path, sc.O_PATH)
    kind = os.fstat(probe).st_mode
    os.close(probe)
    if stat.S_ISDIR(kind):
        packer.folder(name, sc.openat2(root, path, FOLDER), 0)
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
            self.folder(name, os.open(leaf, FOLDER | os.O_NOFOLLOW, dir_fd=parent), depth + 1)
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
