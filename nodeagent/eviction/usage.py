"""What a pod uses of its node: memory and tasks from its cgroup, local storage by walking its trees.

Local storage is read through descriptors, never by following a link, on one file system only. A look counts at most
ENTRIES_AT_ONCE of a pod, in all of its trees together, so that millions of files do not keep the node busy, and the
next continues where it stopped: nothing stays uncounted behind the files, or the trees, that come first.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodeagent.launcher import bundle as names
from nodeagent.pods import terminationmessage
from nodeagent.pods.spec import etcfiles
from nodeagent.runtime.cgroups import Cgroups, Usage

# Of one pod in one look: about a second of one core.
ENTRIES_AT_ONCE = 200_000
# Entries between two checks whether the time is over.
CHECKED_EVERY = 1_000
# Directories of one walk that are open at a time.
KEPT_OPEN = 256
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


def memory_use(pod: Any, place: Place, cgroups: Cgroups) -> PodUse:
    """Nothing of the disk. Blocking, for a thread."""
    total, containers = memory_of(place, cgroups)
    return PodUse(total, containers, local=local_volumes(pod))


def storage_of(pod: Any, place: Place, meter: Meter) -> tuple[dict[str, Disk], dict[str, Disk]]:
    """Layers by container and volumes by name: with the logs, and with the files of the pod's that containers may write
    (/etc/hosts and the like, the termination message). As far as `meter`, which has begun, gets. Blocking, for a thread."""
    layers: dict[str, Disk] = {}
    for name, number in place.runs:
        bundle = place.folder / "containers" / name / str(number)
        layers[name] = layers.get(name, Disk()) + meter.tree(Path(names.upper(bundle))) + file(bundle / terminationmessage.NAME)
    for name in layers:
        layers[name] += meter.tree(place.logs / name)
    # They are the pod's, and counted once, with its first container.
    for name in list(layers)[:1]:
        layers[name] += sum((file(place.folder / target) for target in etcfiles.TARGETS), Disk())
    volumes = {
        volume.name: meter.tree(place.folder / "volumes" / volume.name)
        for volume in pod.spec.volumes
        if volume.volumeSource.HasField("emptyDir")
    }
    return layers, volumes


def local_volumes(pod: Any) -> frozenset[str]:
    """The emptyDirs that are on the disk; those in memory count as memory."""
    sources = ((volume.name, volume.volumeSource) for volume in pod.spec.volumes)
    return frozenset(name for name, source in sources if source.HasField("emptyDir") and not source.emptyDir.medium)


def file(path: Path) -> Disk:
    """The size of one file; nothing for one that is not there, or no file."""
    try:
        found = os.lstat(path)
    except OSError:
        return Disk()
    return Disk(found.st_blocks * 512, 1) if stat.S_ISREG(found.st_mode) else Disk()


class Meter:
    """The sizes of a pod's trees, over many looks: each tree is measured once before any is again. Not thread-safe: one look
    at a time."""

    def __init__(self) -> None:
        self._walks: dict[Path, _Walk] = {}
        self._whole: dict[Path, Disk] = {}
        # Trees that were measured since all were, and whether this look has left any.
        self._measured: set[Path] = set()
        self._behind = False
        self._left = 0
        self._over: Callable[[], bool] = lambda: False

    def begin(self, over: Callable[[], bool] = lambda: False) -> None:
        """A look begins, which counts ENTRIES_AT_ONCE at most, and ends early once `over`."""
        if not self._behind:
            self._measured.clear()
        self._behind = False
        self._left, self._over = ENTRIES_AT_ONCE, over

    def tree(self, path: Path) -> Disk:
        """The size of a tree; nothing for one that is not there. While a walk is not through, it is at least what was found
        so far, and what the last whole one found."""
        if path in self._measured or (self._left <= 0 and path not in self._walks):
            self._behind = self._behind or path not in self._measured
            return self._whole.get(path, Disk())
        try:
            walk = self._walks.pop(path, None) or _Walk(os.open(path, _OPEN))
        except OSError:
            self._whole.pop(path, None)
            return Disk()
        # The tree itself: an empty one costs something too.
        self._left -= 1
        if not self._advance(walk):
            self._behind = True
            self._walks[path] = walk
            whole = self._whole.get(path, Disk())
            return Disk(max(whole.used, walk.found.used), max(whole.inodes, walk.found.inodes))
        walk.close()
        self._measured.add(path)
        self._whole[path] = walk.found
        return walk.found

    def _advance(self, walk: _Walk) -> bool:
        """Count what may be counted; whether that was all."""
        while self._left > 0:
            allowed = min(self._left, CHECKED_EVERY)
            walk.allow(allowed)
            while walk.step():
                pass
            self._left -= allowed - max(walk.left, 0)
            if not walk.paused:
                return True
            if self._over():
                self._left = 0
        return False

    def __del__(self) -> None:
        for walk in self._walks.values():
            walk.close()


def measure(path: Path) -> Disk:
    """The size of a tree in one go, however many entries; nothing for one that is not there."""
    try:
        walk = _Walk(os.open(path, _OPEN))
    except OSError:
        return Disk()
    try:
        walk.allow(sys.maxsize)
        while walk.step():
            pass
    finally:
        walk.close()
    return walk.found


class _Walk:
    """One walk, in a descriptor for each open directory down to KEPT_OPEN, so that renames in the tree do not end it; deeper,
    it comes back by `..`, and where the tree was moved meanwhile it continues further up."""

    def __init__(self, root: int) -> None:
        """Takes the descriptor over."""
        self.left = 0
        # Inodes of several names that were counted.
        self._linked: set[int] = set()
        top = os.fstat(root)
        self._device = top.st_dev
        self.found = Disk(top.st_blocks * 512, 1)
        # Of the open directory and of each above it, the last being the open one.
        self._path = [_Level(root, top.st_ino)]

    @property
    def paused(self) -> bool:
        """Whether it stopped because it was not allowed more, and is not through."""
        return bool(self._path) and self.left <= 0

    def allow(self, entries: int) -> None:
        self.left = entries

    def step(self) -> bool:
        """Count some of the open directory, or go into the next or back out; False when through, or paused."""
        if self.left <= 0 or not self._path:
            return False
        level = self._path[-1]
        if (name := self._next_directory(level)) is not None:
            self._enter(level, name)
        elif level.listed:
            self._leave()
        return bool(self._path) and self.left > 0

    def close(self) -> None:
        for level in self._path:
            level.close()
        self._path.clear()

    def _next_directory(self, level: _Level) -> str | None:
        """Count entries up to the next directory. Where descriptors are given up, all of them first: a listing that is under
        way ends with its descriptor."""
        deep = len(self._path) >= KEPT_OPEN
        while self.left > 0 and (name := level.next()) is not None:
            self.left -= 1
            if self._count(level.fd, name):
                if not deep:
                    return name
                level.below.append(name)
        return level.below.pop() if level.listed and level.below else None

    def _enter(self, level: _Level, name: str) -> None:
        try:
            below = os.open(name, _OPEN, dir_fd=level.fd)
        except OSError:
            return
        if os.fstat(below).st_dev != self._device:
            os.close(below)
            return
        self._path.append(_Level(below, os.fstat(below).st_ino))
        if len(self._path) > KEPT_OPEN:
            self._path[-2].close()

    def _leave(self) -> None:
        left = self._path.pop()
        if self._path and self._path[-1].fd < 0:
            self._reopen(left.fd, self._path[-1])
        left.close()

    def _reopen(self, below: int, level: _Level) -> None:
        """A directory whose descriptor was given up, from one in it. Where it is another by now, the walk continues in the
        deepest one that is open."""
        try:
            above = os.open("..", _OPEN, dir_fd=below)
        except OSError:
            return self._surface()
        found = os.fstat(above)
        if (found.st_dev, found.st_ino) != (self._device, level.inode):
            os.close(above)
            return self._surface()
        level.fd = above
        return None

    def _surface(self) -> None:
        while self._path and self._path[-1].fd < 0:
            self._path.pop()

    def _count(self, directory: int, name: str) -> bool:
        """Whether it is a directory to go into."""
        try:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError:
            return False
        is_directory = stat.S_ISDIR(found.st_mode)
        if found.st_dev != self._device or (not is_directory and found.st_nlink > 1 and found.st_ino in self._linked):
            return False
        if not is_directory and found.st_nlink > 1:
            self._linked.add(found.st_ino)
        self.found += Disk(found.st_blocks * 512, 1)
        return is_directory


@dataclass(slots=True)
class _Level:
    """A directory on the way: `fd` is -1 once it was given up; `listed` once all entries were counted; `below` are
    directories still to go into."""

    fd: int
    inode: int
    listed: bool = False
    below: list[str] = field(default_factory=list)
    _scan: Any = None

    def next(self) -> str | None:
        """The next entry's name, None when all are listed. An entry at a time: a directory may have millions."""
        if self.listed:
            return None
        try:
            self._scan = self._scan or os.scandir(self.fd)
            return str(next(self._scan).name)
        except (OSError, StopIteration):
            self._end_scan()
            return None

    def _end_scan(self) -> None:
        self.listed = True
        if self._scan is not None:
            self._scan.close()
            self._scan = None

    def close(self) -> None:
        self._end_scan()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
