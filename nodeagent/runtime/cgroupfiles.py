"""The files of one cgroup: limits in, usage out, on v1 and v2. What is not offered is passed over."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PERIOD = 100_000
# The kernel takes no quota below a millisecond.
MIN_QUOTA = 1_000
# Shares of what asked for no cpu; the kernel's least.
MIN_SHARES = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """Millicores, bytes, processes; zero: no limit (for `cpu_request`: the least weight)."""

    cpu_request: int = 0
    cpu_limit: int = 0
    memory_limit: int = 0
    pids: int = 0


def read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def working_set(folder: Path) -> int:
    """Source: kubelet's (cAdvisor's) definition: usage without inactive file pages."""
    used = int(read(folder / "memory.current") or read(folder / "memory.usage_in_bytes") or 0)
    lines = (line.split() for line in read(folder / "memory.stat").splitlines())
    stat = {words[0]: int(words[1]) for words in lines if len(words) == 2}
    # On v1 the plain counter is of this cgroup alone, the total of those below too.
    return max(used - stat.get("total_inactive_file", stat.get("inactive_file", 0)), 0)


def _shares(limits: Limits) -> int:
    return max(MIN_SHARES, limits.cpu_request * 1024 // 1000)


def _quota(limits: Limits) -> int:
    return max(limits.cpu_limit * PERIOD // 1000, MIN_QUOTA)


def _weight(limits: Limits) -> str:
    """2..262144 shares map onto weights 1..10000, as in kubelet."""
    return str(1 + (_shares(limits) - 2) * 9999 // 262142)


def write_v2(folder: str, limits: Limits, *, leaf: bool = True) -> None:
    put(folder, "cpu.weight", _weight(limits))
    if limits.cpu_limit:
        put(folder, "cpu.max", f"{_quota(limits)} {PERIOD}")
    if limits.memory_limit:
        put(folder, "memory.max", str(limits.memory_limit))
    if leaf:
        put(folder, "memory.swap.max", "0")
        # A container that lost one of its processes is in an undefined state: the kernel ends it as a whole.
        put(folder, "memory.oom.group", "1")
    if limits.pids:
        put(folder, "pids.max", str(limits.pids))


def write_v1(controller: str, folder: str, limits: Limits) -> None:
    if controller == "cpu":
        put(folder, "cpu.shares", str(_shares(limits)))
        if limits.cpu_limit:
            put(folder, "cpu.cfs_period_us", str(PERIOD))
            put(folder, "cpu.cfs_quota_us", str(_quota(limits)))
    elif controller == "memory" and limits.memory_limit:
        put(folder, "memory.limit_in_bytes", str(limits.memory_limit))
        put(folder, "memory.memsw.limit_in_bytes", str(limits.memory_limit))
    elif controller == "pids" and limits.pids:
        put(folder, "pids.max", str(limits.pids))


def memory_limit(folder: str) -> int:
    """The limit in force in bytes; 0: none, or no such cgroup."""
    text = read(Path(folder, "memory.max")) or read(Path(folder, "memory.limit_in_bytes"))
    # v1 has no word for no limit, but the largest number of pages.
    return int(text) if text.isdigit() and int(text) < 1 << 62 else 0


def cpu_limit(folder: str) -> int:
    """The quota in force in millicores; 0: none, or no such cgroup."""
    quota = read(Path(folder, "cpu.max")).split(" ")[0] or read(Path(folder, "cpu.cfs_quota_us"))
    return int(quota) * 1000 // PERIOD if quota.isdigit() else 0


def change_memory(folder: str, limits: Limits) -> None:
    """Put another memory limit into force, also none, while processes run. Raises OSError."""
    put(folder, "memory.max", str(limits.memory_limit or "max"))
    # The limit with swap is never the lower one: it is raised before the other, and lowered after it.
    names = ["memory.memsw.limit_in_bytes", "memory.limit_in_bytes"]
    before = memory_limit(folder)
    if limits.memory_limit and (not before or limits.memory_limit < before):
        names.reverse()
    for name in names:
        put(folder, name, str(limits.memory_limit or -1))


def change_cpu(folder: str, limits: Limits) -> None:
    """Put another weight and quota into force, also none, while processes run. Raises OSError."""
    put(folder, "cpu.weight", _weight(limits))
    put(folder, "cpu.max", f"{_quota(limits) if limits.cpu_limit else 'max'} {PERIOD}")
    put(folder, "cpu.shares", str(_shares(limits)))
    put(folder, "cpu.cfs_period_us", str(PERIOD))
    put(folder, "cpu.cfs_quota_us", str(_quota(limits) if limits.cpu_limit else -1))


def put(folder: str, name: str, value: str) -> None:
    # A file is missing when its controller is off (swap accounting, a v2 tree without delegation): no limit then.
    # Not to be created: cgroupfs answers that with EACCES instead of ENOENT.
    try:
        descriptor = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)
