"""What a pod uses of its node: memory and tasks from its cgroup, local storage by looking.

Local storage is read through descriptors, never by following a link, on one file system only, and gives up after
MAX_ENTRIES: a pod that makes millions of files must not keep the node busy. What was counted until then is the answer.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodeagent.runtime.cgroups import Cgroups, Usage

MAX_ENTRIES = 500_000
MAX_DEPTH = 200
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
    try:
        return _Walk(os.fstat(root)).walk(root)
    finally:
        os.close(root)


class _Walk:
    """One walk: a file with several names counts once."""

    def __init__(self, root: os.stat_result) -> None:
        self._device = root.st_dev
        self._linked: set[int] = set()
        self._left = MAX_ENTRIES
        self._used = root.st_blocks * 512
        self._inodes = 1

    def walk(self, root: int) -> Disk:
        self._folder(root, 0)
        return Disk(self._used, self._inodes)

    def _folder(self, folder: int, depth: int) -> None:
        for name in _names(folder):
            self._left -= 1
            if self._left < 0:
                return
            try:
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except OSError:
                continue
            if found.st_dev == self._device and self._fresh(found):
                self._used += found.st_blocks * 512
                self._inodes += 1
                if stat.S_ISDIR(found.st_mode) and depth < MAX_DEPTH:
                    self._descend(folder, name, depth)

    def _descend(self, folder: int, name: str, depth: int) -> None:
        try:
            below = os.open(name, _OPEN, dir_fd=folder)
        except OSError:
            return
        try:
            self._folder(below, depth + 1)
        finally:
            os.close(below)

    def _fresh(self, found: os.stat_result) -> bool:
        if found.st_nlink < 2 or stat.S_ISDIR(found.st_mode):
            return True
        if found.st_ino in self._linked:
            return False
        self._linked.add(found.st_ino)
        return True


def _names(folder: int) -> Iterable[str]:
    """Names as they come: a folder of a million is never a list. The scan closes with the loop over it."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                yield entry.name
    except OSError:
        return
