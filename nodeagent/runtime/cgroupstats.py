"""What a cgroup has used and holds, read from cgroup v1, v2 and both: parsers of the kernel's files, and one reader.

Source: the kernel's cgroup-v1 and cgroup-v2 documentation, and cAdvisor for what is called usage and working set.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

# Files that are read, by hierarchy version.
V1 = (
    "cpuacct.usage", "cpu.stat", "memory.usage_in_bytes", "memory.limit_in_bytes", "memory.stat", "memory.oom_control",
    "pids.current",
)  # fmt: skip
V2 = ("cpu.stat", "memory.current", "memory.max", "memory.stat", "memory.events", "pids.current")
# What v1 says for "no limit" is the largest number of whole pages; anything near it is none.
NO_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True)
class CgroupStats:
    """Counters since the cgroup was made, in nanoseconds and events; levels of now, in bytes and tasks."""

    cpu_nanos: int = 0
    cpu_periods: int = 0
    throttled_periods: int = 0
    throttled_nanos: int = 0
    memory_usage: int = 0
    # Usage without what the kernel can drop at once.
    memory_working_set: int = 0
    memory_rss: int = 0
    # Zero: no limit.
    memory_limit: int = 0
    oom_kills: int = 0
    processes: int = 0


def read(folders: Iterable[str]) -> CgroupStats:
    """Of one cgroup, by its folder in each hierarchy. What is not there counts zero."""
    v1: dict[str, str] = {}
    v2: dict[str, str] = {}
    for folder in folders:
        # `tasks` is in every cgroup of v1 and in none of v2.
        found, names = (v1, V1) if os.path.exists(f"{folder}/tasks") else (v2, V2)
        for name in names:
            try:
                found[name] = Path(folder, name).read_text()
            except OSError:
                continue
    return parse(v1, v2)


def parse(v1: Mapping[str, str], v2: Mapping[str, str]) -> CgroupStats:
    """`v1` and `v2` are contents by file name. On a hybrid machine each controller is in one of them; v1 wins, for the
    other has no more than the empty files of a cgroup without controllers."""
    return CgroupStats(**_cpu(v1, v2), **_memory(v1, v2), processes=_number(v1.get("pids.current", v2.get("pids.current", ""))))


def _cpu(v1: Mapping[str, str], v2: Mapping[str, str]) -> dict[str, int]:
    if "cpuacct.usage" in v1 or "cpu.stat" in v1:
        stat = table(v1.get("cpu.stat", ""))
        nanos, throttled = _number(v1.get("cpuacct.usage", "")), stat.get("throttled_time", 0)
    else:
        stat = table(v2.get("cpu.stat", ""))
        nanos, throttled = stat.get("usage_usec", 0) * 1000, stat.get("throttled_usec", 0) * 1000
    return {
        "cpu_nanos": nanos, "cpu_periods": stat.get("nr_periods", 0), "throttled_periods": stat.get("nr_throttled", 0),
        "throttled_nanos": throttled,
    }  # fmt: skip


def _memory(v1: Mapping[str, str], v2: Mapping[str, str]) -> dict[str, int]:
    if "memory.usage_in_bytes" in v1:
        # The plain counters are of this cgroup alone, the totals of those below too, as usage is.
        stat, ooms = table(v1.get("memory.stat", "")), table(v1.get("memory.oom_control", ""))
        usage, limit = _number(v1["memory.usage_in_bytes"]), _number(v1.get("memory.limit_in_bytes", ""))
        inactive, rss = stat.get("total_inactive_file", 0), stat.get("total_rss", 0)
    else:
        stat, ooms = table(v2.get("memory.stat", "")), table(v2.get("memory.events", ""))
        usage, limit = _number(v2.get("memory.current", "")), _number(v2.get("memory.max", ""))
        inactive, rss = stat.get("inactive_file", 0), stat.get("anon", 0)
    return {
        "memory_usage": usage, "memory_working_set": max(usage - inactive, 0), "memory_rss": rss,
        "memory_limit": limit if limit < NO_LIMIT else 0, "oom_kills": ooms.get("oom_kill", 0),
    }  # fmt: skip


def table(text: str) -> dict[str, int]:
    """Lines of a name and a number; others are passed over."""
    lines = (line.split() for line in text.splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdecimal()}


def _number(text: str) -> int:
    """Zero for `max` and for nothing."""
    text = text.strip()
    return int(text) if text.isdecimal() else 0
