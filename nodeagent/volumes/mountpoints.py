"""Mount points inside volumes that show files (configMap, secret, projected, downwardAPI).

No container can write to such a volume, so what is mounted below it needs a directory or a file that is there already. They
are made in the volume itself, like kubelet's (volume/util/nested_volumes.go), and hide keys of their name; other containers
see them empty.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from nodeagent.linux import syscalls
from nodeagent.linux.tree import DIRECTORY, Tree
from pinnace import podspec


@dataclass(frozen=True, slots=True)
class MountPoint:
    """`path` is relative to the volume; `mount` is the volumeMount that it is for, None for a file of the pod's own."""

    path: str
    mount: Any | None

    @property
    def top(self) -> str:
        """Its first component."""
        return self.path.partition("/")[0]


def nested(volume: str, pod: Any, files: Iterable[str]) -> list[MountPoint]:
    """The mount points that a volume must have, in all containers; `files` are paths at which each has a file of the pod.

    Of mounts below each other only the outermost: the rest lies in its volume. Pure."""
    found: dict[str, MountPoint] = {}
    for _, container in podspec.containers(pod):
        mounts: list[tuple[str, Any]] = [(absolute(m.mountPath), m) for m in container.volumeMounts]
        mounts += [(absolute(path), None) for path in (*files, container.terminationMessagePath) if path]
        for base in (absolute(m.mountPath) for m in container.volumeMounts if m.name == volume and not _has_sub_path(m)):
            for point in _outermost(base, mounts):
                found.setdefault(point.path, point)
    return list(found.values())


def absolute(path: str) -> str:
    """A path in a container, as the runtime sees it."""
    return posixpath.normpath("/" + path.lstrip("/"))


def _has_sub_path(mount: Any) -> bool:
    # What is mounted then is a part of the volume, which an update replaces.
    return bool(mount.subPath or mount.subPathExpr)


def _outermost(base: str, mounts: list[tuple[str, Any]]) -> list[MountPoint]:
    found: list[MountPoint] = []
    for path, mount in sorted(mounts, key=lambda item: item[0]):
        below = path.removeprefix(f"{base}/")
        if below != path and not any(below == other.path or below.startswith(f"{other.path}/") for other in found):
            found.append(MountPoint(below, mount))
    return found


def make(folder: str, points: Iterable[MountPoint], is_file: Callable[[Any], bool]) -> None:
    """Make them in the volume at `folder`; what is there stays. `is_file` says of a volumeMount what it shows.

    Raises OSError."""
    tree = Tree(os.open(folder, DIRECTORY | os.O_CLOEXEC))
    try:
        for point in points:
            with contextlib.suppress(FileNotFoundError):
                # A key's symlink: below it, the next update would take the mount point away.
                if stat.S_ISLNK(os.lstat(point.top, dir_fd=tree.fd).st_mode):
                    os.unlink(point.top, dir_fd=tree.fd)
            file = point.mount is None or is_file(point.mount)
            os.close(tree.file(point.path) if file else tree.directory(point.path))
    finally:
        tree.close()


def shows_file(volume: str, sub_path: str) -> bool:
    """Whether there is something else than a directory at a path of a volume. Containers may have put anything there."""
    try:
        base = os.open(volume, syscalls.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    found = base
    try:
        if sub_path:
            resolve = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_MAGICLINKS
            found = syscalls.openat2(base, sub_path, syscalls.O_PATH, resolve=resolve)
        return not stat.S_ISDIR(os.fstat(found).st_mode)
    except OSError:
        return False
    finally:
        for descriptor in {base, found}:
            os.close(descriptor)
