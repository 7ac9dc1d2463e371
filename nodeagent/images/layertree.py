"""A directory that the members of a hostile tar are placed in, and nothing outside of it.

Links that a tar brings lead to other places of the same directory, as in Docker and containerd: they are resolved here, part
by part, and every call then goes to a descriptor whose path has no link (RESOLVE_NO_SYMLINKS), so that an error here is an
error and not a way out. /proc is not used: the caller may have changed its root.
"""

from __future__ import annotations

import errno
import os
import stat

from nodeagent.linux import rmtree, syscalls
from pinnace.oci import BadImage

MAX_INODES = 500_000
# Directories on the way to a member.
MAX_DEPTH = 250
# As many as Linux follows in one path (MAXSYMLINKS).
MAX_LINKS = 40
# Directories that something else of the same tar takes the place of: each is a deletion of whatever is in it.
MAX_REPLACED = 1000
_RESOLVE = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OPAQUE = "trusted.overlay.opaque"


def parts_of(path: str, *, clamp: bool = False) -> list[str]:
    """The parts of a tar's path, below its root whatever it begins with. A path that leads out of it is refused, or with
    `clamp` ends at the root. Raises BadImage."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if not parts and not clamp:
                raise BadImage("its path leads out of the layer")
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    if len(parts) > MAX_DEPTH:
        raise BadImage(f"its path is more than {MAX_DEPTH} folders deep")
    return parts


class LayerTree:
    """The tree below `root`, a descriptor of a directory that was empty. All methods raise BadImage and OSError.

    `lost` is set once content is gone that a member brought: the tar cannot be made of the tree alone again.
    """

    def __init__(self, root: int, *, follow: bool = True) -> None:
        """Without `follow` a path that leads through a link is refused."""
        self._root = root
        self._follow = follow
        self._links: set[str] = set()
        self._inodes = self._replaced = 0
        # The directory that was opened last: most members follow one of the same directory. Empty path: none, or a removed one.
        self._path, self._directory = "", -1
        self.lost = False

    def close(self) -> None:
        if self._directory >= 0:
            os.close(self._directory)
            self._path, self._directory = "", -1

    def resolve(self, parts: list[str]) -> str:
        """The path without links that the tree has for `parts`."""
        if not self._links:
            return "/".join(parts)
        waiting, followed = parts[::-1], 0
        done: list[str] = []
        while waiting:
            part = waiting.pop()
            if part in ("", "."):
                continue
            if part == "..":
                del done[-1:]
                continue
            done.append(part)
            if (target := self._target("/".join(done))) is not None:
                if not self._follow:
                    raise BadImage("its path leads through a link")
                followed += 1
                if followed > MAX_LINKS:
                    raise BadImage("its path has more links than one may have")
                waiting += target.split("/")[::-1]
                done = [] if target.startswith("/") else done[:-1]
        if len(done) > MAX_DEPTH:
            raise BadImage(f"its path is more than {MAX_DEPTH} folders deep")
        return "/".join(done)

    def _target(self, path: str) -> str | None:
        """Where a link leads; None for what is none."""
        if path not in self._links:
            return None
        above, _, name = path.rpartition("/")
        try:
            return os.readlink(name, dir_fd=self._open(above))
        except OSError:
            # It was replaced, or something above it.
            self._links.discard(path)
            return None

    def parent(self, path: str) -> int:
        """A descriptor of the directory at a resolved path, made with those above it when missing. It is the tree's, and good
        until the next is opened. NotADirectoryError: something else of this tar is there."""
        try:
            return self._open(path)
        except (FileNotFoundError, NotADirectoryError):
            return self._make(path)

    def existing(self, path: str) -> int | None:
        """As `parent`, without making any: None for none."""
        try:
            return self._open(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _open(self, path: str) -> int:
        if not path:
            return self._root
        if path != self._path:
            descriptor = syscalls.openat2(self._root, path, _OPEN, resolve=_RESOLVE)
            self.close()
            self._path, self._directory = path, descriptor
        return self._directory

    def _make(self, path: str) -> int:
        """One directory after the other, each opened in the one above: a path that is resolved from the root again for each
        of its parts costs the square of its depth."""
        above = os.dup(self._root)
        try:
            for part in path.split("/"):
                mode = self.mode(above, part)
                if mode is None or stat.S_ISCHR(mode):
                    self.directory(above, part, 0o755)
                elif not stat.S_ISDIR(mode):
                    raise NotADirectoryError(errno.ENOTDIR, "a part of its path is not a directory")
                below = os.open(part, _OPEN | os.O_NOFOLLOW, dir_fd=above)
                os.close(above)
                above = below
        except BaseException:
            os.close(above)
            raise
        self.close()
        self._path, self._directory = path, above
        return above

    # What is in a directory

    @staticmethod
    def mode(parent: int, name: str) -> int | None:
        """Type and permissions; None for nothing. A character device is a whiteout: no other is ever made."""
        try:
            return os.lstat(name, dir_fd=parent).st_mode
        except FileNotFoundError:
            return None

    def count(self) -> None:
        """One inode more."""
        self._inodes += 1
        if self._inodes > MAX_INODES:
            raise BadImage(f"more than {MAX_INODES} files and directories")

    def clear(self, parent: int, name: str) -> bool:
        """Make room for a member; whether something was there that hides what a lower layer has at the place."""
        mode = self.mode(parent, name)
        if mode is None:
            return False
        if not stat.S_ISDIR(mode):
            self.lost |= stat.S_ISREG(mode)
            os.unlink(name, dir_fd=parent)
            return True
        self._replaced += 1
        if self._replaced > MAX_REPLACED:
            raise BadImage(f"more than {MAX_REPLACED} directories are replaced by later members")
        self.lost = True
        rmtree.remove(name, dir_fd=parent)
        # The directory that is open may be one of those that went.
        self._path = ""
        return False

    def directory(self, parent: int, name: str, mode: int) -> None:
        """A directory, which may be there. One that takes the place of something else hides what lower layers have."""
        found = self.mode(parent, name)
        if found is not None and stat.S_ISDIR(found):
            return
        hiding = self.clear(parent, name)
        self.count()
        os.mkdir(name, mode, dir_fd=parent)
        if hiding:
            descriptor = os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=parent)
            try:
                self.opaque(descriptor)
            finally:
                os.close(descriptor)

    @staticmethod
    def opaque(directory: int) -> None:
        """Hide what lower layers have in a directory."""
        os.setxattr(directory, _OPAQUE, b"y")

    def whiteout(self, parent: int, name: str) -> None:
        """Hide what lower layers have at a place, and remove what this tar has put there: overlayfs' 0:0 device."""
        if name in ("", ".", ".."):
            raise BadImage(f"a whiteout of {name!r}, which is no file's name")
        self.clear(parent, name)
        self.count()
        os.mknod(name, stat.S_IFCHR | 0o600, 0, dir_fd=parent)

    def symlink(self, path: str, parent: int, name: str, target: str) -> None:
        """A link at the resolved `path`, whose last part is `name`."""
        os.symlink(target, name, dir_fd=parent)
        self._links.add(path)
