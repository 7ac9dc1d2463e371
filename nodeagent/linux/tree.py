"""A folder of someone else's making, changed only by descriptor: whatever its content is, nothing outside is touched.

The content of an image is hostile. Every path is resolved with openat2(RESOLVE_IN_ROOT), so that a symlink in it leads
nowhere but into itself, and mounts are attached to descriptors, so that no path is looked up twice.
"""

from __future__ import annotations

import contextlib
import os

from nodeagent.linux import syscalls as sc

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


class Tree:
    """The tree below `fd`. What is made in it belongs to `owner`, the host's id of the container's root."""

    def __init__(self, fd: int, owner: int = 0) -> None:
        self.fd = fd
        self.owner = owner

    def lookup(self, path: str) -> int | None:
        """A descriptor that can only be mounted on and asked about; None when there is nothing."""
        try:
            return sc.openat2(self.fd, path, sc.O_PATH)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def directory(self, path: str) -> int:
        """A descriptor of a folder, made with its parents when missing: one component at a time, each inside the root."""
        with contextlib.suppress(FileNotFoundError):
            return sc.openat2(self.fd, path or ".", DIRECTORY)
        done, current = "", os.dup(self.fd)
        try:
            for part in [part for part in path.split("/") if part]:
                done = f"{done}/{part}"
                try:
                    following = sc.openat2(self.fd, done, DIRECTORY)
                except FileNotFoundError:
                    with self._as_owner():
                        os.mkdir(part, 0o755, dir_fd=current)
                    following = sc.openat2(self.fd, done, DIRECTORY)
                os.close(current)
                current = following
        except BaseException:
            os.close(current)
            raise
        return current

    def file(self, path: str) -> int:
        """A descriptor of what is at `path`; an empty file is made when there is nothing."""
        found = self.lookup(path)
        if found is not None:
            return found
        os.close(self.directory(path.rpartition("/")[0]))
        with self._as_owner():
            os.close(sc.openat2(self.fd, path, os.O_WRONLY | os.O_CREAT, mode=0o644))
        return sc.openat2(self.fd, path, sc.O_PATH)

    def mount(self, path: str, fstype: str, flags: int, data: str = "") -> Tree:
        """A fresh file system on a folder, by descriptor. Returns its tree, which the caller closes."""
        fd = self.directory(path)
        sc.mount(fstype, f"/proc/self/fd/{fd}", fstype, flags, data)
        os.close(fd)
        return Tree(sc.openat2(self.fd, path, DIRECTORY), self.owner)

    def attach(self, path: str, mount: int) -> Tree:
        """A detached mount, whose descriptor this takes, on a folder. Returns its tree, which the caller closes."""
        fd = self.directory(path)
        sc.move_mount(mount, fd)
        os.close(fd)
        return Tree(mount, self.owner)

    def mount_fresh(self, name: str, fstype: str, flags: int, data: str = "") -> None:
        """A fresh file system on a folder that is made here: only for a tree that we have just mounted and that nobody
        else has seen, where a name can be nothing but what we made."""
        os.mkdir(name, 0o755, dir_fd=self.fd)
        sc.mount(fstype, f"/proc/self/fd/{self.fd}/{name}", fstype, flags, data)

    def close(self) -> None:
        os.close(self.fd)

    @contextlib.contextmanager
    def _as_owner(self) -> Iterator[None]:
        # An id-mapped volume takes no file of an id that its user namespace does not have, and the host's root is one.
        if self.owner:
            sc.set_fs_ids(self.owner, self.owner)
        try:
            yield
        finally:
            if self.owner:
                sc.set_fs_ids(0, 0)
