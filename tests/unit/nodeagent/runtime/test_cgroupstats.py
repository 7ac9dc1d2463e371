"""The kernel's cgroup files, as they are on v1, v2 and hybrid machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodeagent.runtime.cgroupstats import CgroupStats, parse, read

V1 = {
    "cpuacct.usage": "123456789\n",
    "cpu.stat": "nr_periods 10\nnr_throttled 3\nthrottled_time 5000000\n",
    "memory.usage_in_bytes": "10485760\n",
    "memory.limit_in_bytes": "67108864\n",
    "memory.stat": "cache 4096\nrss 1\ninactive_file 0\ntotal_rss 6291456\ntotal_inactive_file 2097152\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "pids.current": "7\n",
}
V2 = {
    "cpu.stat": "usage_usec 123456\nuser_usec 100000\nsystem_usec 23456\nnr_periods 10\nnr_throttled 3\nthrottled_usec 5000\n",
    "memory.current": "10485760\n",
    "memory.max": "67108864\n",
    "memory.stat": "anon 6291456\nfile 4194304\ninactive_file 2097152\n",
    "memory.events": "low 0\nhigh 0\nmax 5\noom 2\noom_kill 2\n",
    "pids.current": "7\n",
}
EMPTY_V2 = {"cpu.stat": "usage_usec 99\nuser_usec 99\nsystem_usec 0\n"}
SAME = {
    "cpu_periods": 10, "throttled_periods": 3, "throttled_nanos": 5_000_000, "memory_usage": 10 << 20,
    "memory_working_set": 8 << 20, "memory_rss": 6 << 20, "memory_limit": 64 << 20, "oom_kills": 2, "processes": 7,
}  # fmt: skip


@pytest.mark.parametrize(
    ("v1", "v2", "expected"),
    [
        (V1, {}, CgroupStats(cpu_nanos=123_456_789, **SAME)),
        ({}, V2, CgroupStats(cpu_nanos=123_456_000, **SAME)),
        (V1, EMPTY_V2, CgroupStats(cpu_nanos=123_456_789, **SAME)),
        ({}, {}, CgroupStats()),
        ({}, {"memory.current": "5", "memory.max": "max\n"}, CgroupStats(memory_usage=5, memory_working_set=5)),
        ({"memory.usage_in_bytes": "5", "memory.limit_in_bytes": "9223372036854771712"}, {},
         CgroupStats(memory_usage=5, memory_working_set=5)),
        ({}, {"memory.current": "5", "memory.stat": "inactive_file 9"}, CgroupStats(memory_usage=5)),
        ({"pids.current": "nonsense", "memory.stat": "a b c\n\nd"}, {}, CgroupStats()),
    ],
    ids=["v1", "v2", "hybrid", "nothing", "v2 without limit", "v1 without limit", "more inactive than used", "nonsense"],
)  # fmt: skip
def test_files_become_numbers(v1: dict[str, str], v2: dict[str, str], expected: CgroupStats) -> None:
    """The same facts from either version."""
    assert parse(v1, v2) == expected


def test_folders_are_read_by_their_version(tmp_path: Path) -> None:
    """v1 controllers each in a folder of their own, and an empty v2 cgroup beside them."""
    for controller, prefix in (("cpu", "cpu."), ("cpuacct", "cpuacct."), ("memory", "memory."), ("pids", "pids.")):
        folder = tmp_path / controller
        folder.mkdir()
        (folder / "tasks").touch()
        for name, text in V1.items():
            if name.startswith(prefix):
                (folder / name).write_text(text)
    unified = tmp_path / "unified"
    unified.mkdir()
    (unified / "cpu.stat").write_text(EMPTY_V2["cpu.stat"])
    found = read([str(path) for path in tmp_path.iterdir()])
    assert found == CgroupStats(cpu_nanos=123_456_789, **SAME)
    assert read([str(tmp_path / "none")]) == CgroupStats()
