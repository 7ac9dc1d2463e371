"""What is left, read from the machine or from a node's own share of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodeagent.eviction.decide import Observation
from nodeagent.eviction.signals import max_processes, measure
from nodeagent.runtime.cgroups import Usage

MEMINFO = "MemTotal:        1000 kB\nMemFree:          300 kB\nMemAvailable:     700 kB\nInactive(file):   200 kB\nHugePages_Total:       0\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    for name, text in (
        ("meminfo", MEMINFO), ("loadavg", "0.10 0.20 0.30 2/250 4242\n"), ("sys/kernel/pid_max", "1000\n"),
        ("sys/kernel/threads-max", "900\n"),
    ):  # fmt: skip
        (tmp_path / "proc" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "proc" / name).write_text(text)
    return tmp_path / "proc"


def test_a_machine_is_asked_where_a_node_is_all_of_it(proc: Path) -> None:
    """Memory that is free or can be dropped at once; processes below the lesser of the kernel's bounds."""
    found = measure({}, Usage(), 0, state=proc, images=proc, proc=proc)
    assert found["memory.available"] == Observation(500 << 10, 1000 << 10)
    assert found["pid.available"] == Observation(650, 900)
    assert found["nodefs.available"].capacity > found["nodefs.available"].available > 0
    assert found["imagefs.available"].capacity == found["nodefs.available"].capacity


def test_a_node_with_a_share_has_what_its_pods_leave_of_it(proc: Path) -> None:
    """Never less than nothing."""
    capacity = {"memory": 100, "ephemeral-storage": 50, "pid": 10}
    found = measure(capacity, Usage(memory=30, pids=4), 60, state=proc, images=proc, proc=proc)
    assert found["memory.available"] == Observation(70, 100)
    assert found["pid.available"] == Observation(6, 10)
    assert found["nodefs.available"] == found["imagefs.available"] == Observation(0, 50)


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    """And is no reason to end a pod."""
    assert measure({}, Usage(), 0, state=tmp_path / "none", images=tmp_path / "none", proc=tmp_path) == {}
    assert max_processes(tmp_path) == 0
