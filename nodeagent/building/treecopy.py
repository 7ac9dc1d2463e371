"""The content of one directory into another, without following any symlink below either.

As BuildKit copies: hard links within the tree stay hard links; a directory that is in the target already gets the
attributes of the source's; a directory that is not selected itself is made once something below it is.
"""

from __future__ import annotations

import errno
import os
import stat

from nodeagent.building.errors import BuildError
from nodeagent.building.fileattributes import FileAttributes
from nodeagent.building.selection import Selection, Verdict

MAX_DEPTH = 200
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20


class _Target:
    """A directory of the target, opened or made when the first entry needs it; `path` is relative to the tree's."""

    def __init__(self, parent: _Target | None, name: str, status: os.stat_result | None, descriptor: int = -1) -> None:
        self._parent = parent
        self._name = name
        self._status = status
        self._descriptor = descriptor
        self._made = False
        self.path: str = f"{parent.path}/{name}".lstrip("/") if parent is not None else ""

    def descriptor(self) -> int:
        """Raises BuildError, OSError."""
        if self._descriptor < 0:
            assert self._parent is not None
            parent = self._parent.descriptor()
            try:
                os.mkdir(self._name, 0o700, dir_fd=parent)
                self._made = True
            except FileExistsError:
                pass
            self._descriptor = self._opened(parent)
        return self._descriptor

    def _opened(self, parent: int) -> int:
        try:
            return os.open(self._name, _DIRECTORY, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                text = "a directory cannot replace the file or symlink of that name in the image"
                raise BuildError(f"{self._name[:200]}: {text}") from None
            raise

    def finish(self, attributes: FileAttributes, *, taken: bool) -> None:
        """Set the attributes, after the content, which changes the time. Of a directory that is only on the way to what
        was taken, and was there, just the mode. Raises OSError."""
        if self._descriptor < 0 or self._parent is None or self._status is None:
            return
        if taken or self._made:
            attributes.set_on(self._name, self._parent.descriptor(), self._status)
        else:
            os.fchmod(self._descriptor, attributes.mode_of(self._status))

    def close(self) -> None:
        if self._descriptor >= 0 and self._parent is not None:
            os.close(self._descriptor)


class TreeCopy:
    """One copy, of one source directory, into the directory `into`."""

    def __init__(self, into: int, attributes: FileAttributes, selection: Selection) -> None:
        self._into = into
        self._attributes = attributes
        self._selection = selection
        # Where in the target the first name of a file with several is, by the source's device and inode.
        self._links: dict[tuple[int, int], str] = {}

    def copy(self, source: int) -> None:
        """The content of the directory `source`, an O_PATH descriptor. Raises BuildError, OSError."""
        self._directory(source, "", _Target(None, "", None, self._into), self._selection.top, 0)

    def _directory(self, source: int, path: str, target: _Target, verdict: Verdict, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise BuildError(f"directories are nested deeper than {MAX_DEPTH}")
        readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)
        try:
            for name in sorted(os.listdir(readable)):
                below = f"{path}/{name}" if path else name
                found = self._selection.verdict(below, verdict)
                try:
                    self._entry(readable, name, below, target, found, depth)
                except OSError as error:
                    raise BuildError(f"{name[:200]}: {error.strerror or error}") from None
        finally:
            os.close(readable)

    def _entry(self, source: int, name: str, path: str, target: _Target, verdict: Verdict, depth: int) -> None:
        status = os.lstat(name, dir_fd=source)
        if stat.S_ISDIR(status.st_mode):
            if verdict.taken or verdict.searched:
                self._subdirectory(source, name, path, _Target(target, name, status), verdict, depth)
        elif not verdict.taken:
            return
        elif stat.S_ISREG(status.st_mode):
            self._file(source, name, target, status)
        elif stat.S_ISLNK(status.st_mode):
            _symlink(source, name, target.descriptor(), self._attributes.owner_of(status), status.st_mtime_ns)
        elif stat.S_ISFIFO(status.st_mode):
            into = target.descriptor()
            _make_room(into, name)
            os.mkfifo(name, 0o600, dir_fd=into)
            self._attributes.set_on(name, into, status)
        else:
            raise BuildError(f"{name[:200]}: a device, a socket or a whiteout, which cannot be copied")

    def _subdirectory(self, source: int, name: str, path: str, target: _Target, verdict: Verdict, depth: int) -> None:
        item = os.open(name, _DIRECTORY, dir_fd=source)
        try:
            if verdict.taken:
                target.descriptor()
            self._directory(item, path, target, verdict, depth + 1)
            target.finish(self._attributes, taken=verdict.taken)
        finally:
            os.close(item)
            target.close()

    def _file(self, source: int, name: str, target: _Target, status: os.stat_result) -> None:
        into = target.descriptor()
        if status.st_nlink > 1:
            here = f"{target.path}/{name}".lstrip("/")
            first = self._links.setdefault((status.st_dev, status.st_ino), here)
            if first != here:
                _make_room(into, name)
                os.link(first, name, src_dir_fd=self._into, dst_dir_fd=into, follow_symlinks=False)
                return
        item = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        try:
            write(item, into, name, self._attributes)
        finally:
            os.close(item)


def write(item: int, into: int, name: str, attributes: FileAttributes) -> None:
    """The open file `item` as `name` in the directory `into`, replacing a file there. Raises BuildError, OSError."""
    _make_room(into, name)
    copied = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=into)
    try:
        while os.sendfile(copied, item, None, _CHUNK):
            pass
        attributes.set_on_file(copied, item)
    finally:
        os.close(copied)


def _symlink(source: int, name: str, into: int, owner: tuple[int, int], mtime_ns: int) -> None:
    link = os.readlink(name, dir_fd=source)
    _make_room(into, name)
    os.symlink(link, name, dir_fd=into)
    os.chown(name, *owner, dir_fd=into, follow_symlinks=False)
    os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=into, follow_symlinks=False)


def _make_room(into: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=into)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        raise BuildError(f"{name[:200]}: a file cannot replace the directory of that name in the image") from None
