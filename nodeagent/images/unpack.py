"""A tar into a directory: a layer's for overlay mounts, or an archive's for a build.

The tar is hostile. `LayerTree` keeps every member inside of the directory; this module bounds how much there may be, and
turns whiteouts of a layer into overlayfs' own: a 0:0 character device for a file, an xattr for an opaque directory. Device
nodes are left out: containers get their own /dev. Source: the OCI image-spec's layer section; the kernel's overlayfs
documentation; the tables of cases of containerd's pkg/archive.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from typing import IO

from nodeagent.images import layertree
from nodeagent.images.layertree import LayerTree, parts_of
from pinnace.oci import BadImage, tarheader
from pinnace.oci.tar import Reader
from pinnace.oci.tarheader import Member

MAX_MEMBERS = layertree.MAX_INODES
MAX_BYTES = 16 << 30
MAX_DEPTH = layertree.MAX_DEPTH
# What one member of a packed layer may make of the disk without limit, in bytes, and how many times the packed size beyond it.
# Text packs to a twentieth; zeros, which pack to a thousandth, are not written and do not count.
FREE_BYTES, MAX_RATIO = 1 << 30, 250
_OPAQUE, _WHITEOUT, _META = ".wh..wh..opq", ".wh.", ".wh..wh."
# Where AUFS kept the content of hard links, which then name it.
_AUFS_LINKS = ".wh..wh.plnk"
# Extended attributes that a layer may set: a program's capabilities (ping), and what is for applications. Those of overlayfs
# would be a way to make layers lie.
_KEPT_XATTRS = ("security.capability", "user.")
_HOLE = 4096
Note = Callable[[Member, str], None]


def unpack(
    stream: IO[bytes], folder: str, name: str, note: Note = lambda *_: None, *, whiteouts: bool = True,
    packed: int | None = None,
) -> LayerTree:  # fmt: skip
    """Unpack an uncompressed tar into an empty directory. Raises BadImage naming `name` and the member.

    `note` gets every member before its content, and the path that it gets. Without `whiteouts` the tar is no layer's: names
    that begin with .wh. are names, and no path may lead through a link. `packed` is the size from which the stream is
    decompressed, in bytes.
    """
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    tree = LayerTree(root, follow=whiteouts)
    try:
        _Unpacking(stream, tree, root, note, whiteouts=whiteouts, packed=packed).run(name)
        return tree
    finally:
        tree.close()
        os.close(root)


class _Unpacking:
    def __init__(
        self, stream: IO[bytes], tree: LayerTree, root: int, note: Note, *, whiteouts: bool, packed: int | None
    ) -> None:  # fmt: skip
        self._reader = Reader(stream)
        self._tree = tree
        self._root = root
        self._note = note
        self._whiteouts = whiteouts
        # Bytes that may be written to files.
        self._room = MAX_BYTES if packed is None else min(MAX_BYTES, FREE_BYTES + MAX_RATIO * packed)
        self._count = self._total = 0
        # Times of directories by path: set last, for every member below changes them.
        self._times: dict[str, int] = {}

    def run(self, name: str) -> None:
        where = name
        try:
            while (member := self._reader.next()) is not None:
                where = f"{name}: {member.name[:200]!r}"
                self._bound(member)
                self._place(member)
                where = name
            self._finish()
        except BadImage as error:
            raise BadImage(f"{where}: {error}") from None
        except OSError as error:
            raise BadImage(f"{where}: {_explain(error)}") from None

    def _bound(self, member: Member) -> None:
        self._count, self._total = self._count + 1, self._total + member.size
        if self._count > MAX_MEMBERS or self._total > MAX_BYTES:
            raise BadImage(f"more than {MAX_MEMBERS} members or {MAX_BYTES >> 30} GiB")

    def _place(self, member: Member) -> None:
        parts = parts_of(member.name)
        if not parts:
            if member.kind == tarheader.DIRECTORY:
                os.fchmod(self._root, member.mode)
                self._times[""] = member.mtime
            return
        name = parts[-1]
        if self._whiteouts and name.startswith(_WHITEOUT):
            self._hide(self._tree.resolve(parts[:-1]), name)
        elif not (self._whiteouts and parts[0].startswith(_META) and parts[0] != _AUFS_LINKS):
            above = self._tree.resolve(parts[:-1])
            self._create(above, self._tree.parent(above), name, member)

    def _hide(self, above: str, name: str) -> None:
        """A whiteout in the directory at `above`."""
        if name != _OPAQUE and name.startswith(_META) and not above:
            # Something of AUFS.
            return
        try:
            parent = self._tree.parent(above)
        except NotADirectoryError:
            # What this layer has there instead hides everything below already.
            return
        if name == _OPAQUE:
            self._tree.opaque(parent)
        else:
            self._tree.whiteout(parent, name.removeprefix(_WHITEOUT))

    def _create(self, above: str, parent: int, name: str, member: Member) -> None:
        path = f"{above}/{name}" if above else name
        match member.kind:
            case tarheader.DIRECTORY:
                self._tree.directory(parent, name, 0o700)
                self._own_directory(parent, name, member)
                self._times[path] = member.mtime
            case tarheader.REGULAR:
                self._replace(parent, name)
                self._note(member, path)
                self._write(parent, name, member)
            case tarheader.SYMLINK:
                self._replace(parent, name)
                self._tree.symlink(path, parent, name, member.link)
                os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
                os.utime(name, ns=(member.mtime, member.mtime), dir_fd=parent, follow_symlinks=False)
            case tarheader.LINK:
                self._link(path, parent, name, member)
            case tarheader.FIFO:
                self._replace(parent, name)
                os.mkfifo(name, 0o600, dir_fd=parent)
                os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
                os.chmod(name, member.mode, dir_fd=parent)
                os.utime(name, ns=(member.mtime, member.mtime), dir_fd=parent)
            case tarheader.CHARACTER | tarheader.BLOCK_DEVICE:
                pass
            case _:
                raise BadImage(f"members of type {member.kind!r} are not supported")

    def _replace(self, parent: int, name: str) -> None:
        self._tree.clear(parent, name)
        self._tree.count()

    def _own_directory(self, parent: int, name: str, member: Member) -> None:
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            _own(descriptor, member)
        finally:
            os.close(descriptor)

    def _write(self, parent: int, name: str, member: Member) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, 0o600, dir_fd=parent), "wb", buffering=0) as file:
            end = 0
            for offset, data in self._reader.content():
                if len(data) >= _HOLE and not data[0] and not data.strip(b"\0"):
                    continue
                self._room -= len(data)
                if self._room < 0:
                    raise BadImage(f"it unpacks to more than {MAX_RATIO} times its packed size")
                if offset != end:
                    file.seek(offset)
                file.write(data)
                end = offset + len(data)
            if end != member.size:
                file.truncate(member.size)
            _own(file.fileno(), member)
            os.utime(file.fileno(), ns=(member.mtime, member.mtime))

    def _link(self, path: str, parent: int, name: str, member: Member) -> None:
        """A further name of a file of this layer, which may be a link itself; the last part of the target is not followed."""
        *before, last = parts_of(member.link, clamp=True) or [""]
        above = self._tree.resolve(before)
        if f"{above}/{last}".lstrip("/") == path:
            raise BadImage("it is a hard link to itself")
        self._replace(parent, name)
        again = os.dup(parent)
        try:
            source = self._tree.existing(above)
            if source is None or not last:
                raise BadImage(f"it is a hard link to {member.link[:200]!r}, which is not in the layer")
            os.link(last, name, src_dir_fd=source, dst_dir_fd=again, follow_symlinks=False)
            _own_link(again, name, member)
        finally:
            os.close(again)

    def _finish(self) -> None:
        """What can only be done once every member is there."""
        if self._whiteouts and self._tree.mode(self._root, _AUFS_LINKS) is not None:
            self._tree.clear(self._root, _AUFS_LINKS)
        for path, mtime in self._times.items():
            # Something else may have taken its place.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                descriptor = self._tree.existing(path)
                if descriptor is not None:
                    os.utime(descriptor, ns=(mtime, mtime))


def _own(descriptor: int, member: Member) -> None:
    os.fchown(descriptor, member.uid, member.gid)
    for key, value in member.xattrs.items():
        if key.startswith(_KEPT_XATTRS):
            _set_xattr(descriptor, key, value)
    # After chown, which clears setuid bits.
    os.fchmod(descriptor, member.mode)


def _set_xattr(descriptor: int, name: str, value: bytes) -> None:
    try:
        os.setxattr(descriptor, name, value)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise


def _own_link(parent: int, name: str, member: Member) -> None:
    """What a hard link's own header says, as in containerd: it is the file's from then on."""
    status = os.lstat(name, dir_fd=parent)
    if not stat.S_ISREG(status.st_mode):
        return
    if (status.st_uid, status.st_gid) != (member.uid, member.gid):
        # Only then: it clears capabilities.
        os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
    os.chmod(name, member.mode, dir_fd=parent)
    os.utime(name, ns=(member.mtime, member.mtime), dir_fd=parent, follow_symlinks=False)


def _explain(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.EXDEV):
        return "its path leads through a link or out of the layer"
    return error.strerror or str(error)
