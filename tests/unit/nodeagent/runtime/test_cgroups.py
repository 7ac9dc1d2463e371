"""Limits in the words of both cgroup versions, and a cgroup's life in the kernel's own hierarchies."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from nodeagent.runtime import cgroups
from nodeagent.runtime.cgroups import Cgroups, Limits

LIMITS = Limits(cpu_request=500, cpu_limit=1500, memory_limit=64 << 20, pids=100)


V1 = ("cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "pids.max")
V2 = ("cpu.weight", "cpu.max", "memory.max", "memory.swap.max", "pids.max")


def offered(folder: Path, names: tuple[str, ...]) -> Path:
    """A cgroup with these files; what the kernel does not offer is not made."""
    for name in names:
        (folder / name).touch()
    return folder


def written(folder: Path) -> dict[str, str]:
    return {path.name: text for path in folder.iterdir() if (text := path.read_text())}


def test_v2_has_weight_quota_and_maxima(tmp_path: Path) -> None:
    """500m is a weight of 20 (512 shares), 1500m a quota of 150 ms in 100 ms."""
    cgroups._write_v2(offered(tmp_path, V2), LIMITS)
    assert written(tmp_path) == {
        "cpu.weight": "20", "cpu.max": "150000 100000", "memory.max": str(64 << 20), "memory.swap.max": "0", "pids.max": "100",
    }  # fmt: skip


def test_v1_writes_each_controllers_own_files(tmp_path: Path) -> None:
    """Shares and quota, memory with swap, pids."""
    for controller in ("cpu", "memory", "pids"):
        cgroups._write_v1(controller, offered(tmp_path, V1), LIMITS)
    assert written(tmp_path) == {
        "cpu.shares": "512", "cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000",
        "memory.limit_in_bytes": str(64 << 20), "memory.memsw.limit_in_bytes": str(64 << 20), "pids.max": "100",
    }  # fmt: skip


def test_no_limit_writes_no_limit(tmp_path: Path) -> None:
    """Only the least weight, so that pods without requests yield to those with."""
    cgroups._write_v2(offered(tmp_path, V2), Limits(pids=0))
    assert written(tmp_path) == {"cpu.weight": "1"}


def test_a_controller_that_is_off_is_passed_over(tmp_path: Path) -> None:
    """Its files are not there, and are not made."""
    cgroups._write_v2(offered(tmp_path, ("pids.max",)), LIMITS)
    assert written(tmp_path) == {"pids.max": "100"}


@pytest.mark.root
@pytest.mark.parametrize("root", [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")])
def test_a_cgroup_lives_kills_and_leaves_nothing(root: Path) -> None:
    """As the machine has it mounted, and on its v2 hierarchy alone where that stands apart (hybrid)."""
    if not root.exists():
        root = Path("/sys/fs/cgroup")
    found = Cgroups(f"pinnace-unit-{os.getpid()}", root)
    found.create("pod1", Limits(pids=0), leaf=False)
    folders = found.create("pod1/main-0", LIMITS, leaf=True)
    with subprocess.Popen(["sleep", "100"]) as sleeper:
        for folder in folders:
            (Path(folder) / "cgroup.procs").write_text(str(sleeper.pid))
        assert not found.remove("pod1")
        found.kill("pod1")
        assert sleeper.wait(10) == -9
    assert found.remove("pod1")
    found.prune()
    assert found.list() == set()
    assert not any(Path(folder).parent.parent.exists() for folder in folders)
