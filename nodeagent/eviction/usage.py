"""What a pod uses of its node: memory and tasks from its cgroup, local storage by looking.

Local storage is read through descriptors, never by following a link, on one file system only, and gives up after
MAX_ENTRIES: a pod that makes millions of files must not keep the node busy. What was counted until then is the answer.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodeagent.runtime.cgroups import Cgroups, Usage

MAX_ENTRIES = 200_000
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes on the disk, not lengths of files: a sparse file costs what it holds."""

    used: int = 0
    inodes: int = 0

    def __add__(self, other: Disk) -> Disk:
        return Disk(self.used + other.used, self.inodes + other.inodes)


@dataclass(frozen=True, slots=True)
class PodUse:
    """`containers`: memory in bytes by name; `layers`: writable layer and log of each container; `volumes`: each
    emptyDir; `local`: those of them that are on the disk."""

    total: Usage = field(default_factory=Usage)
    containers: dict[str, int] = field(default_factory=dict)
    layers: dict[str, Disk] = field(default_factory=dict)
    volumes: dict[str, Disk] = field(default_factory=dict)
    local: frozenset[str] = frozenset()

    @property
    def storage(self) -> Disk:
        """What counts as the pod's ephemeral storage."""
        own = sum(self.layers.values(), Disk())
        return sum((self.volumes[name] for name in self.local if name in self.volumes), own)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod is: its folder, its logs, its cgroup, and the runs (container, number) that are kept."""

    folder: Path
    logs: Path
    cgroup: str
    runs: tuple[tuple[str, int], ...]


def memory_of(place: Place, cgroups: Cgroups) -> tuple[Usage, dict[str, int]]:
    """Of the pod, and of each container that runs. Cheap: a few small files."""
    last = dict(place.runs)
    return cgroups.usage(place.cgroup), {
        name: cgroups.usage(f"{place.cgroup}/{name}-{number}").memory for name, number in last.items()
    }


def storage_of(pod: Any, place: Place) -> tuple[dict[str, Disk], dict[str, Disk]]:
    """Layers by container and volumes by name. Blocking, for a thread."""
    layers: dict[str, Disk] = {}
    for name, number in place.runs:
        upper = measure(place.folder / "containers" / name / str(number) / "upper")
        layers[name] = layers.get(name, Disk()) + upper
    for name in layers:
        layers[name] += measure(place.logs / name)
    volumes = {
        volume.name: measure(place.folder / "volumes" / volume.name)
        for volume in pod.spec.volumes
        if volume.volumeSource.HasField("emptyDir")
    }
    return layers, volumes


def local_volumes(pod: Any) -> frozenset[str]:
    """The emptyDirs that are on the disk; those in memory count as memory."""
    sources = ((volume.name, volume.volumeSource) for volume in pod.spec.volumes)
    return frozenset(name for name, source in sources if source.HasField("emptyDir") and not source.emptyDir.medium)


def measure(path: Path) -> Disk:
    """The size of a tree; nothing for one that is not there."""
    try:
        root = os.open(path, _OPEN)
    except OSError:
        return Disk()
    walk = _Walk(root)
    try:
        while walk.step():
            pass
    finally:
        walk.close()
    return walk.found


class _Walk:
    """One walk. It goes down by name and comes back by `..`, with one descriptor, so that no depth hides anything; when the
    tree is moved under its feet it ends with what it has."""

    def __init__(self, root: int) -> None:
        """Takes the descriptor over."""
        self._here = root
        self._left = MAX_ENTRIES
        # Inodes of several names that were counted.
        self._linked: set[int] = set()
        top = os.fstat(root)
        self._device = top.st_dev
        self.found = Disk(top.st_blocks * 512, 1)
        # Of the folder that is open and of each above it: its inode, and the folders in it that are still to be seen.
        self._path: list[tuple[int, list[str]]] = [(top.st_ino, self._scan())]

    def step(self) -> bool:
        """Into the next folder or back out of this one; False when there is none left."""
        names = self._path[-1][1]
        if names:
            self._enter(names.pop())
            return True
        self._path.pop()
        return bool(self._path) and self._leave(self._path[-1][0])

    def close(self) -> None:
        os.close(self._here)

    def _enter(self, name: str) -> None:
        try:
            below = os.open(name, _OPEN, dir_fd=self._here)
        except OSError:
            return
        inode = os.fstat(below).st_ino
        os.close(self._here)
        self._here = below
        self._path.append((inode, self._scan()))

    def _leave(self, inode: int) -> bool:
        try:
            above = os.open("..", _OPEN, dir_fd=self._here)
        except OSError:
            return False
        os.close(self._here)
        self._here = above
        seen = os.fstat(above)
        return (seen.st_dev, seen.st_ino) == (self._device, inode)

    def _scan(self) -> list[str]:
        """Count what is in the open folder; returns its folders."""
        folders: list[str] = []
        try:
            with os.scandir(self._here) as entries:
                for entry in entries:
                    self._left -= 1
                    if self._left < 0:
                        return []
                    if self._count(entry.name):
                        folders.append(entry.name)
        except OSError:
            pass
        return folders

    def _count(self, name: str) -> bool:
        """Whether it is a folder to go into."""
        try:
            seen = os.stat(name, dir_fd=self._here, follow_symlinks=False)
        except OSError:
            return False
        folder = stat.S_ISDIR(seen.st_mode)
        if seen.st_dev != self._device or (not folder and seen.st_nlink > 1 and seen.st_ino in self._linked):
            return False
        if not folder and seen.st_nlink > 1:
            self._linked.add(seen.st_ino)
        self.found += Disk(seen.st_blocks * 512, 1)
        return folder
