"""A layer's directory as the layer's tar, always the same bytes for the same content, in a stream of bounded memory.

The directory is an overlay's upper one: a 0:0 character device is a whiteout, an xattr marks an opaque directory. In the tar
these are OCI's `.wh.` files. Times are whole seconds, names sorted, owners numbers. `tidy` first removes what a tar
cannot hold, so that directory and tar are the same layer. Source: the OCI image-spec's layer section; overlayfs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

from nodeagent.building.errors import BuildError

MAX_MEMBERS = 500_000
_CHUNK = 1 << 20
_BLOCK = 512
_OPAQUE, _REDIRECT, _CAPABILITY = "trusted.overlay.opaque", "trusted.overlay.redirect", "security.capability"


def digest(directory: Path) -> str:
    """The layer's diff id. Raises BuildError, OSError."""
    hashed = hashlib.sha256()
    for chunk in stream(directory):
        hashed.update(chunk)
    return "sha256:" + hashed.hexdigest()


def size(directory: Path) -> int:
    """Bytes of the tar, without reading the files."""
    total = 0
    for member, _ in _members(directory):
        total += len(_header(member)) + _padded(member.size)
    return total + 2 * _BLOCK


def stream(directory: Path) -> Iterator[bytes]:
    """The tar in chunks. Raises BuildError, OSError."""
    for member, path in _members(directory):
        yield _header(member)
        if member.isreg() and member.size:
            yield from _content(path, member.size)
            yield bytes(_padded(member.size) - member.size)
    yield bytes(2 * _BLOCK)


def is_empty(directory: Path) -> bool:
    with os.scandir(directory) as entries:
        return next(entries, None) is None


def tidy(directory: Path) -> None:
    """Remove sockets and device nodes, which no layer has; whiteouts stay. Raises BuildError for names of whiteouts."""
    for path, status in _walk(directory):
        if stat.S_ISSOCK(status.st_mode) or stat.S_ISBLK(status.st_mode) or (_is_device(status) and not _whites(status)):
            os.unlink(path)
        elif os.path.basename(path).startswith(".wh."):
            raise BuildError(f"{path.removeprefix(str(directory))}: a layer cannot hold a file whose name begins with .wh.")


def _is_device(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode)


def _whites(status: os.stat_result) -> bool:
    return _is_device(status) and status.st_rdev == 0


def _walk(directory: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below, parents first, names sorted; no link is followed and no frame of Python's stack taken."""
    waiting = [str(directory)]
    count = 0
    while waiting:
        current = waiting.pop()
        if current != str(directory):
            status = os.lstat(current)
            yield current, status
            if not stat.S_ISDIR(status.st_mode):
                continue
        names = sorted(os.listdir(current), reverse=True)
        count += len(names)
        if count > MAX_MEMBERS:
            raise BuildError(f"a layer of more than {MAX_MEMBERS} files is not supported")
        waiting += [f"{current}/{name}" for name in names]


def _members(directory: Path) -> Iterator[tuple[tarfile.TarInfo, str]]:
    first: dict[tuple[int, int], str] = {}
    for path, status in _walk(directory):
        name = path[len(str(directory)) + 1 :]
        if _whites(status):
            yield _empty(_marked(name, ".wh.")), path
            continue
        member = _member(name, path, status)
        if member.isreg() and status.st_nlink > 1:
            earlier = first.setdefault((status.st_dev, status.st_ino), name)
            if earlier != name:
                member.type, member.linkname, member.size = tarfile.LNKTYPE, earlier, 0
                member.pax_headers = {}
        yield member, path
        if member.isdir():
            if _xattr(path, _REDIRECT) is not None:
                raise BuildError(f"/{name}: a renamed directory that this kernel keeps as a redirect (redirect_dir is on)")
            if _xattr(path, _OPAQUE) == b"y":
                yield _empty(f"{name}/.wh..wh..opq"), path


def _marked(name: str, prefix: str) -> str:
    parent, slash, last = name.rpartition("/")
    return f"{parent}{slash}{prefix}{last}"


def _empty(name: str) -> tarfile.TarInfo:
    """A whiteout. Its time is that of no file, so it has none."""
    member = tarfile.TarInfo(name)
    member.mode = 0o600
    return member


def _member(name: str, path: str, status: os.stat_result) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode, member.uid, member.gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
    member.mtime = int(status.st_mtime)
    if stat.S_ISDIR(status.st_mode):
        member.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        member.type, member.linkname = tarfile.SYMTYPE, os.readlink(path)
    elif stat.S_ISFIFO(status.st_mode):
        member.type = tarfile.FIFOTYPE
    elif stat.S_ISREG(status.st_mode):
        member.size = status.st_size
        capability = _xattr(path, _CAPABILITY)
        if capability is not None:
            member.pax_headers = {f"SCHILY.xattr.{_CAPABILITY}": capability.decode("utf-8", "surrogateescape")}
    else:
        raise BuildError(f"/{name}: a device or socket, which a layer cannot hold")
    return member


def _header(member: tarfile.TarInfo) -> bytes:
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padded(count: int) -> int:
    return -(-count // _BLOCK) * _BLOCK


def _xattr(path: str, name: str) -> bytes | None:
    with contextlib.suppress(OSError):
        return os.getxattr(path, name, follow_symlinks=False)
    return None


def _content(path: str, count: int) -> Iterator[bytes]:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        while count:
            chunk = file.read(min(_CHUNK, count))
            if not chunk:
                raise BuildError(f"{path}: the file became shorter while it was read")
            count -= len(chunk)
            yield chunk
