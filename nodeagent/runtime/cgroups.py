"""Cgroups of pods and containers, on v1, v2 and hybrid machines, from what is mounted; nothing is remounted.

A pod's cgroup holds one for each container. Limits are set before any process joins; removal kills first.
Source of the conversions: the kernel's cgroup-v1 and cgroup-v2 documentation, and kubelet's for cpu shares to weight.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

# v1 controllers that a container gets when they are mounted.
V1 = ("cpu", "cpuacct", "memory", "pids", "freezer", "devices", "blkio")
V2_CONTROLLERS = ("cpu", "memory", "pids", "io")
PERIOD = 100_000
# Devices of a container on v1: the ones in its /dev, terminals, and mknod (without access) of any.
_DEVICES = (
    "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm",
    "c 136:* rwm",
)  # fmt: skip
DEFAULT_PIDS = 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """Millicores, bytes, processes; zero: no limit (for `cpu_request`: the least weight)."""

    cpu_request: int = 0
    cpu_limit: int = 0
    memory_limit: int = 0
    pids: int = DEFAULT_PIDS


class Cgroups:
    """All cgroups below one name, `pinnace` or `pinnace-NODE`, in every hierarchy."""

    def __init__(self, name: str, root: Path = Path("/sys/fs/cgroup")) -> None:
        self._name = name
        self._root = root
        self.unified = (root / "cgroup.controllers").exists()
        self._v1 = {} if self.unified else {c: root / c for c in V1 if (root / c / "cgroup.procs").exists()}
        # Controllers mounted together (cpu,cpuacct) are one folder under two names.
        self._v1 = {c: path for c, path in self._v1.items() if not self._twin(c, path)}
        hybrid = root / "unified"
        self._v2 = root if self.unified else hybrid if (hybrid / "cgroup.procs").exists() else None

    def _twin(self, controller: str, path: Path) -> bool:
        earlier = V1[: V1.index(controller)]
        return any((self._root / other).exists() and (self._root / other).samefile(path) for other in earlier)

    @property
    def hierarchies(self) -> list[str]:
        """What a container mounts below its /sys/fs/cgroup."""
        return ["cgroup2"] if self.unified else [*self._v1, *(["cgroup2"] if self._v2 else [])]

    def folders(self, path: str) -> tuple[str, ...]:
        """The folder of `path` in each hierarchy; memory first, where its events are read."""
        roots = sorted(self._v1.items(), key=lambda item: item[0] != "memory")
        found = [str(root / self._name / path) for _, root in roots]
        return (*found, *([str(self._v2 / self._name / path)] if self._v2 else []))

    def create(self, path: str, limits: Limits, *, leaf: bool) -> tuple[str, ...]:
        """Make the cgroup with its limits; `leaf` says that processes will join. Raises OSError."""
        folders = self.folders(path)
        for folder in folders:
            os.makedirs(folder, exist_ok=True)
        if self.unified and self._v2 is not None:
            self._delegate(path if not leaf else path.rpartition("/")[0])
            _write_v2(self._v2 / self._name / path, limits)
        for controller, root in self._v1.items():
            _write_v1(controller, root / self._name / path, limits)
        return folders

    def _delegate(self, path: str) -> None:
        """Hand the controllers down from the root to the children of `path`."""
        assert self._v2 is not None
        current = self._v2
        for part in ("", self._name, *path.split("/")):
            current = current / part if part else current
            available = (current / "cgroup.controllers").read_text().split()
            wanted = [f"+{name}" for name in V2_CONTROLLERS if name in available]
            (current / "cgroup.subtree_control").write_text(" ".join(wanted))

    def kill(self, path: str) -> None:
        """SIGKILL to every process in the cgroup and below."""
        for folder in self.folders(path)[-1:] if self._v2 else self.folders(path):
            for base, _, _ in os.walk(folder):
                for pid in _pids(Path(base)):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def remove(self, path: str) -> bool:
        """Remove the cgroup and those below; False while processes are still in one."""
        empty = True
        for folder in self.folders(path):
            for base, _, _ in os.walk(folder, topdown=False):
                try:
                    os.rmdir(base)
                except FileNotFoundError:
                    continue
                except OSError:
                    empty = False
        return empty

    def prune(self) -> None:
        """Remove our own top folders while they are empty; the next pod makes them again."""
        for folder in self.folders(""):
            with contextlib.suppress(OSError):
                os.rmdir(folder.rstrip("/"))

    def list(self) -> set[str]:
        """The names directly below ours, in any hierarchy."""
        found: set[str] = set()
        for folder in self.folders(""):
            with contextlib.suppress(FileNotFoundError):
                found |= {entry.name for entry in os.scandir(folder) if entry.is_dir()}
        return found


def _pids(folder: Path) -> list[int]:
    try:
        return [int(line) for line in (folder / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _write_v2(folder: Path, limits: Limits) -> None:
    # 2..262144 shares map onto weights 1..10000, as in kubelet.
    shares = max(2, limits.cpu_request * 1024 // 1000)
    _put(folder, "cpu.weight", str(1 + (shares - 2) * 9999 // 262142))
    if limits.cpu_limit:
        _put(folder, "cpu.max", f"{limits.cpu_limit * PERIOD // 1000} {PERIOD}")
    if limits.memory_limit:
        _put(folder, "memory.max", str(limits.memory_limit))
        _put(folder, "memory.swap.max", "0")
    if limits.pids:
        _put(folder, "pids.max", str(limits.pids))


def _write_v1(controller: str, folder: Path, limits: Limits) -> None:
    if controller == "cpu":
        _put(folder, "cpu.shares", str(max(2, limits.cpu_request * 1024 // 1000)))
        if limits.cpu_limit:
            _put(folder, "cpu.cfs_period_us", str(PERIOD))
            _put(folder, "cpu.cfs_quota_us", str(limits.cpu_limit * PERIOD // 1000))
    elif controller == "memory" and limits.memory_limit:
        _put(folder, "memory.limit_in_bytes", str(limits.memory_limit))
        _put(folder, "memory.memsw.limit_in_bytes", str(limits.memory_limit))
    elif controller == "pids" and limits.pids:
        _put(folder, "pids.max", str(limits.pids))
    elif controller == "devices" and (folder / "devices.deny").exists():
        _put(folder, "devices.deny", "a")
        for rule in _DEVICES:
            _put(folder, "devices.allow", rule)


def _put(folder: Path, name: str, value: str) -> None:
    # A file is missing when its controller is off (swap accounting, a v2 tree without delegation): no limit then.
    # Not to be created: cgroupfs answers that with EACCES instead of ENOENT.
    try:
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)
