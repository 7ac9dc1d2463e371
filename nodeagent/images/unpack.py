"""A layer's tar into a folder that an overlay mount can use as lowerdir.

The tar is hostile. Every member is placed below the folder by descriptor, with no symlink followed on the way, so
nothing is written outside; a member that tries is an error that names it. Whiteouts become overlayfs' own: a 0:0
character device for a file, an xattr for an opaque folder. Device nodes are left out: containers get their own /dev.
Source: the OCI image-spec's layer section; the kernel's overlayfs documentation.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from nodeagent import trees
from nodeagent.runtime.native import syscalls
from pinnace.oci import BadImage

MAX_MEMBERS = 500_000
MAX_BYTES = 16 << 30
# Folders on the way to a member: a layer is walked and deleted by calls that go one deeper for each (os.walk, rmtree).
MAX_DEPTH = 250
_RESOLVE = 0x08 | 0x04  # RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS
_OPAQUE, _WHITEOUT = ".wh..wh..opq", ".wh."
_CHUNK = 1 << 20
# How a tar carries extended attributes, and those that a layer may set: a program's capabilities (ping), and what is
# for applications. Those of overlayfs would be a way to make layers lie.
_XATTR = "SCHILY.xattr."
_KEPT_XATTRS = ("security.capability", "user.")


def unpack(stream: IO[bytes], folder: str, name: str, note: Callable[[tarfile.TarInfo], None] = lambda _: None) -> None:
    """Unpack an uncompressed tar; `note` sees every member before its content. Raises BadImage naming `name` and the member."""
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    total = count = 0
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            while (member := tar.next()) is not None:
                # tarfile keeps every member that it has seen, and a layer may have half a million.
                tar.members = []  # type: ignore[attr-defined]
                count, total = count + 1, total + member.size
                if count > MAX_MEMBERS or total > MAX_BYTES:
                    raise BadImage(f"{name}: more than {MAX_MEMBERS} members or {MAX_BYTES >> 30} GiB")
                note(member)
                try:
                    _place(root, tar, member)
                except BadImage as error:
                    raise BadImage(f"{name}: {member.name[:200]!r}: {error}") from None
                except OSError as error:
                    raise BadImage(f"{name}: {member.name[:200]!r}: {_explain(error)}") from None
    except tarfile.TarError as error:
        raise BadImage(f"{name}: not a tar archive: {error}") from None
    finally:
        os.close(root)


def _explain(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.EXDEV):
        return "its path leads through a link or out of the layer"
    return error.strerror or str(error)


def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BadImage("its path leads out of the layer")
    if len(parts) > MAX_DEPTH:
        raise BadImage(f"its path is more than {MAX_DEPTH} folders deep")
    return parts


def _place(root: int, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    parts = _parts(member.name)
    if not parts:
        os.fchmod(root, member.mode & 0o7777)
        return
    parent = _parent(root, parts[:-1])
    name = parts[-1]
    try:
        if name == _OPAQUE:
            os.setxattr(parent, "trusted.overlay.opaque", b"y")
        elif name.startswith(_WHITEOUT):
            _clear(parent, name[len(_WHITEOUT) :])
            os.mknod(name[len(_WHITEOUT) :], stat.S_IFCHR | 0o600, 0, dir_fd=parent)
        else:
            _create(root, parent, name, tar, member)
    finally:
        os.close(parent)


def _parent(root: int, parts: list[str]) -> int:
    current = os.dup(root)
    for depth in range(1, len(parts) + 1):
        path = "/".join(parts[:depth])
        try:
            following = syscalls.openat2(root, path, os.O_RDONLY | os.O_DIRECTORY, resolve=_RESOLVE)
        except FileNotFoundError:
            os.mkdir(parts[depth - 1], 0o755, dir_fd=current)
            following = syscalls.openat2(root, path, os.O_RDONLY | os.O_DIRECTORY, resolve=_RESOLVE)
        except BaseException:
            os.close(current)
            raise
        os.close(current)
        current = following
    return current


def _clear(parent: int, name: str) -> None:
    """Make room for a member that comes twice, unless both are folders."""
    try:
        mode = os.lstat(name, dir_fd=parent).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        trees.remove(Path(f"/proc/self/fd/{parent}/{name}"))
    else:
        os.unlink(name, dir_fd=parent)


def _create(root: int, parent: int, name: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    if member.isdir():
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
        if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            _clear(parent, name)
            os.mkdir(name, 0o700, dir_fd=parent)
        _own(parent, name, member)
        return
    if not (member.isfile() or member.issym() or member.islnk() or member.isfifo()):
        return
    _clear(parent, name)
    if member.issym():
        os.symlink(member.linkname, name, dir_fd=parent)
        os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
    elif member.islnk():
        source = syscalls.openat2(root, "/".join(_parts(member.linkname)), syscalls.O_PATH | os.O_NOFOLLOW, resolve=_RESOLVE)
        try:
            os.link(f"/proc/self/fd/{source}", name, dst_dir_fd=parent, follow_symlinks=True)
        finally:
            os.close(source)
    elif member.isfifo():
        os.mkfifo(name, 0o600, dir_fd=parent)
        _own(parent, name, member)
    else:
        _write(parent, name, tar, member)
        _own(parent, name, member)


def _write(parent: int, name: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    source = tar.extractfile(member)
    assert source is not None
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=parent), "wb") as file:
        while chunk := source.read(_CHUNK):
            file.write(chunk)


def _own(parent: int, name: str, member: tarfile.TarInfo) -> None:
    os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
    for key, value in member.pax_headers.items():
        if key.startswith(_XATTR) and key.removeprefix(_XATTR).startswith(_KEPT_XATTRS):
            _set_xattr(f"/proc/self/fd/{parent}/{name}", key.removeprefix(_XATTR), value)
    # After chown, which clears setuid bits.
    os.chmod(name, member.mode & 0o7777, dir_fd=parent)
    os.utime(name, (member.mtime, member.mtime), dir_fd=parent)


def _set_xattr(path: str, name: str, value: str) -> None:
    try:
        os.setxattr(path, name, value.encode("utf-8", "surrogateescape"), follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
