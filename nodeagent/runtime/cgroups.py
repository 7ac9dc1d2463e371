"""Cgroups of pods and containers, on v1, v2 and hybrid machines, from what is mounted; nothing is remounted.

    NAME                    the node: memory up to what is allocatable, so that pods cannot starve the machine
    NAME/podUID             Guaranteed pods, each with the sum of its containers' limits
    NAME/burstable/podUID   share the cpu by their requests; the folder weighs what they weigh together
    NAME/besteffort/podUID  get what is left over
    .../podUID/NAME-NUMBER  one run of a container

Limits are set before any process joins; removal kills first.
Source: kubelet's cgroup hierarchy and its conversion of cpu shares to weight; the kernel's cgroup-v1 and cgroup-v2
documentation.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from nodeagent.runtime import cgroupfiles as files
from nodeagent.runtime import devices
from nodeagent.runtime.cgroupfiles import Limits as Limits

# v1 controllers that a container gets when they are mounted: those by which it is limited or measured, and no more, for each
# is a folder to make, to join, to mount and to remove.
V1 = ("cpu", "cpuacct", "memory", "pids", "devices")
V2_CONTROLLERS = ("cpu", "memory", "pids")
MAX_WEIGHT, MAX_SHARES = 10_000, 1 << 18
BURSTABLE, BEST_EFFORT = "burstable", "besteffort"
_PARENTS = {"Guaranteed": "", "Burstable": BURSTABLE, "BestEffort": BEST_EFFORT}


@dataclass(frozen=True, slots=True)
class Usage:
    """What a cgroup and those below hold now: `memory` is the working set in bytes (without file pages that the kernel
    may drop at once), `pids` the number of tasks."""

    memory: int = 0
    pids: int = 0


class Cgroups:
    """All cgroups below one name, `pinnace` or `pinnace-NODE`, in every hierarchy; `node` bounds them together."""

    def __init__(self, name: str, root: Path = Path("/sys/fs/cgroup"), node: Limits | None = None) -> None:
        self._name = name
        self._node = node or Limits()
        self._root = root
        self.unified = (root / "cgroup.controllers").exists()
        self._v1 = {} if self.unified else {c: root / c for c in V1 if (root / c / "cgroup.procs").exists()}
        # Controllers mounted together (cpu,cpuacct) are one folder under two names.
        self._v1 = {c: path for c, path in self._v1.items() if not self._twin(c, path)}
        hybrid = root / "unified"
        self._v2 = root if self.unified else hybrid if (hybrid / "cgroup.procs").exists() else None
        # As text, and joined as text: three folders in each of six hierarchies are named for every container.
        self._tops = {controller: f"{path}/{name}" for controller, path in self._v1.items()}
        self._top2 = f"{self._v2}/{name}" if self._v2 else ""
        # Memory first, where its events are read.
        tops = sorted(self._tops, key=lambda controller: controller != "memory")
        self._all = (*(self._tops[controller] for controller in tops), *([self._top2] if self._top2 else []))

    def _twin(self, controller: str, path: Path) -> bool:
        earlier = V1[: V1.index(controller)]
        return any((self._root / other).exists() and (self._root / other).samefile(path) for other in earlier)

    @property
    def hierarchies(self) -> list[str]:
        """What a container mounts below its /sys/fs/cgroup."""
        return ["cgroup2"] if self.unified else [*self._v1, *(["cgroup2"] if self._v2 else [])]

    def folders(self, path: str) -> tuple[str, ...]:
        """The folder of `path` in each hierarchy, that of memory first."""
        return tuple(f"{top}/{path}" for top in self._all) if path else self._all

    def pod_path(self, uid: str, qos: str) -> str:
        """Where a pod's cgroup is, or is to be: one that exists stays, whatever its class is said to be now."""
        name = f"pod{uid}"
        for parent in _PARENTS.values():
            path = f"{parent}/{name}".lstrip("/")
            if any(os.path.isdir(folder) for folder in self.folders(path)):
                return path
        return f"{_PARENTS.get(qos, '')}/{name}".lstrip("/")

    def create(self, path: str, limits: Limits, *, leaf: bool, all_devices: bool = False) -> tuple[str, ...]:
        """Make the cgroup with its limits; `leaf` says that processes will join, `all_devices` that they may use every
        device of the node. Raises OSError."""
        try:
            folders = self._make(path, limits, leaf=leaf)
        except FileNotFoundError:
            # The first pod in them.
            self._make_parents(path)
            folders = self._make(path, limits, leaf=leaf, first=True)
        if leaf:
            devices.confine(folders, privileged=all_devices)
        if path.startswith(f"{BURSTABLE}/") and not leaf:
            self._weigh_burstable()
        return folders

    def _make_parents(self, path: str) -> None:
        """The node's folder and the class's, with their own limits."""
        parents = ["", path.partition("/")[0]] if path.startswith((f"{BURSTABLE}/", f"{BEST_EFFORT}/")) else [""]
        for parent in parents:
            if not all(os.path.isdir(folder) for folder in self.folders(parent)):
                self._make(parent, Limits() if parent else self._node, leaf=False, first=True)

    def _make(self, path: str, limits: Limits, *, leaf: bool, first: bool = False) -> tuple[str, ...]:
        """`first`: with the directories above it. Raises FileNotFoundError where there are none."""
        folders = self.folders(path)
        for folder in folders:
            _make(folder, parents=first)
        if self.unified and self._v2 is not None:
            self._delegate(path if not leaf else path.rpartition("/")[0])
            files.write_v2(f"{self._top2}/{path}", limits, leaf=leaf)
        for controller, top in self._tops.items():
            files.write_v1(controller, f"{top}/{path}", limits)
        return folders

    def _weigh_burstable(self) -> None:
        """Burstable pods together weigh the sum of them, read back from the kernel: no agent has to remember it."""
        name, most = ("cpu.weight", MAX_WEIGHT) if self.unified else ("cpu.shares", MAX_SHARES)
        top = self._top2 if self.unified else self._tops.get("cpu")
        if top:
            folder = Path(top, BURSTABLE)
            weights = [int(files.read(path) or 0) for path in folder.glob(f"pod*/{name}")]
            files.put(str(folder), name, str(min(max(sum(weights), 1 if self.unified else files.MIN_SHARES), most)))

    def usage(self, path: str) -> Usage:
        """What is used at `path` and below; zeros when it is not there."""
        folders = {controller: Path(top, path) for controller, top in self._tops.items()}
        if self.unified:
            folders = dict.fromkeys(("memory", "pids"), Path(self._top2, path))
        memory, pids = folders.get("memory"), folders.get("pids")
        return Usage(files.working_set(memory) if memory else 0, int(files.read(pids / "pids.current") or 0) if pids else 0)

    def memory_limit(self, path: str) -> int:
        """The memory limit in force in bytes; 0: none."""
        return max((files.memory_limit(folder) for folder in self.folders(path)), default=0)

    def cpu_limit(self, path: str) -> int:
        """The cpu quota in force in millicores; 0: none."""
        return max((files.cpu_limit(folder) for folder in self.folders(path)), default=0)

    def change_memory(self, path: str, limits: Limits) -> None:
        """Put another memory limit into force while processes run; what is not there is passed over. Raises OSError."""
        for folder in self.folders(path):
            files.change_memory(folder, limits)

    def change_cpu(self, path: str, limits: Limits) -> None:
        """The same for weight and quota."""
        for folder in self.folders(path):
            files.change_cpu(folder, limits)
        if path.startswith(f"{BURSTABLE}/") and path.count("/") == 1:
            self._weigh_burstable()

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
            empty = _remove(folder) and empty
        if path.startswith(f"{BURSTABLE}/") and path.count("/") == 1:
            self._weigh_burstable()
        return empty

    def prune(self) -> None:
        """Remove the folders of classes and of the node while they are empty; the next pod makes them again."""
        for path in (BURSTABLE, BEST_EFFORT, ""):
            for folder in self.folders(path):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)

    def list(self) -> set[str]:
        """The paths of pods below ours, in any hierarchy."""
        found: set[str] = set()
        for parent in _PARENTS.values():
            for folder in self.folders(parent):
                with contextlib.suppress(FileNotFoundError):
                    names = {entry.name for entry in os.scandir(folder) if entry.is_dir()}
                    found |= {f"{parent}/{name}".lstrip("/") for name in names - {BURSTABLE, BEST_EFFORT}}
        return found


def _make(folder: str, *, parents: bool) -> None:
    try:
        os.mkdir(folder)
    except FileExistsError:
        pass
    except FileNotFoundError:
        if not parents:
            raise
        os.makedirs(folder, exist_ok=True)


def _remove(folder: str) -> bool:
    """A cgroup and those below it; False while one has processes."""
    empty = True
    try:
        # Two links and one for each folder in it: the many files of one without are not listed.
        if os.stat(folder).st_nlink > 2:
            for entry in os.scandir(folder):
                if entry.is_dir(follow_symlinks=False):
                    empty = _remove(entry.path) and empty
        os.rmdir(folder)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return empty


def _pids(folder: Path) -> list[int]:
    try:
        # 0 stands for a process outside of this pid namespace, and to kill(2) it is this process's own group.
        return [pid for line in (folder / "cgroup.procs").read_text().split() if (pid := int(line))]
    except OSError:
        return []
