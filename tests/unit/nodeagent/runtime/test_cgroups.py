"""Limits in the words of both cgroup versions, and a cgroup's life in the kernel's own hierarchies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.runtime import cgroupfiles
from nodeagent.runtime.cgroups import Cgroups, Limits, Usage

LIMITS = Limits(cpu_request=500, cpu_limit=1500, memory_limit=64 << 20, pids=100)


V1 = ("cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "pids.max")
V2 = ("cpu.weight", "cpu.max", "memory.max", "memory.swap.max", "memory.oom.group", "pids.max")


def offered(folder: Path, names: tuple[str, ...]) -> str:
    """A cgroup with these files; what the kernel does not offer is not made."""
    for name in names:
        (folder / name).touch()
    return str(folder)


def written(folder: Path) -> dict[str, str]:
    return {path.name: text for path in folder.iterdir() if (text := path.read_text())}


def test_v2_has_weight_quota_and_maxima(tmp_path: Path) -> None:
    """500m is a weight of 20 (512 shares), 1500m a quota of 150 ms in 100 ms."""
    cgroupfiles.write_v2(offered(tmp_path, V2), LIMITS)
    assert written(tmp_path) == {
        "cpu.weight": "20", "cpu.max": "150000 100000", "memory.max": str(64 << 20), "memory.swap.max": "0",
        "memory.oom.group": "1", "pids.max": "100",
    }  # fmt: skip


def test_v1_writes_each_controllers_own_files(tmp_path: Path) -> None:
    """Shares and quota, memory with swap, pids."""
    for controller in ("cpu", "memory", "pids"):
        cgroupfiles.write_v1(controller, offered(tmp_path, V1), LIMITS)
    assert written(tmp_path) == {
        "cpu.shares": "512", "cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000",
        "memory.limit_in_bytes": str(64 << 20), "memory.memsw.limit_in_bytes": str(64 << 20), "pids.max": "100",
    }  # fmt: skip


def test_no_limit_writes_no_limit(tmp_path: Path) -> None:
    """Only the least weight, so that pods without requests yield to those with."""
    cgroupfiles.write_v2(offered(tmp_path, V2), Limits(), leaf=False)
    assert written(tmp_path) == {"cpu.weight": "1"}


def test_a_container_swaps_nothing_and_dies_as_a_whole(tmp_path: Path) -> None:
    """Also without a limit of its own: the node's may be what it hits."""
    cgroupfiles.write_v2(offered(tmp_path, V2), Limits())
    assert written(tmp_path) == {"cpu.weight": "1", "memory.swap.max": "0", "memory.oom.group": "1"}


def test_a_quota_below_what_the_kernel_takes_is_its_least(tmp_path: Path) -> None:
    """5m would be half a millisecond in a hundred; the kernel takes no less than one."""
    cgroupfiles.write_v2(offered(tmp_path, V2), Limits(cpu_limit=5))
    cgroupfiles.write_v1("cpu", offered(tmp_path, V1), Limits(cpu_limit=5))
    assert (written(tmp_path)["cpu.max"], written(tmp_path)["cpu.cfs_quota_us"]) == ("1000 100000", "1000")


def test_a_change_of_limits_writes_none_too(tmp_path: Path) -> None:
    """A limit that is no more has a word of its own in each version."""
    for folder, names in ((tmp_path / "v1", V1), (tmp_path / "v2", V2)):
        folder.mkdir()
        cgroupfiles.change_memory(offered(folder, names), Limits())
        cgroupfiles.change_cpu(str(folder), Limits())
    assert written(tmp_path / "v1") == {
        "cpu.shares": "2", "cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "-1",
        "memory.limit_in_bytes": "-1", "memory.memsw.limit_in_bytes": "-1",
    }  # fmt: skip
    assert written(tmp_path / "v2") == {"cpu.weight": "1", "cpu.max": "max 100000", "memory.max": "max"}


@pytest.mark.root
def test_limits_change_in_any_order_of_versions(tmp_path: Path) -> None:
    """The kernel takes each: from none to some, up, down and back to none; what is in force can be read."""
    cgroups = Cgroups(f"pinnace-test-{os.getpid()}")
    path = "podu1"
    try:
        cgroups.create(path, Limits(), leaf=False)
        cgroups.create(f"{path}/main-0", Limits(), leaf=True)
        for memory, cpu in ((64 << 20, 500), (128 << 20, 1500), (32 << 20, 100), (0, 0)):
            limits = Limits(cpu_request=100, cpu_limit=cpu, memory_limit=memory)
            names = [path, f"{path}/main-0"] if not cpu or cpu > cgroups.cpu_limit(path) > 0 else [f"{path}/main-0", path]
            for name in names:
                cgroups.change_memory(name, limits)
                cgroups.change_cpu(name, limits)
            assert {(cgroups.memory_limit(name), cgroups.cpu_limit(name)) for name in names} == {(memory, cpu)}
    finally:
        assert cgroups.remove(path)
        cgroups.prune()


def test_a_controller_that_is_off_is_passed_over(tmp_path: Path) -> None:
    """Its files are not there, and are not made."""
    cgroupfiles.write_v2(offered(tmp_path, ("pids.max",)), LIMITS)
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


@pytest.fixture
def found() -> Iterator[Cgroups]:
    """As the machine has cgroups mounted, with a bound on the node."""
    made = Cgroups(f"pinnace-unit-{os.getpid()}", node=Limits(cpu_request=2000, memory_limit=1 << 30))
    yield made
    for path in made.list():
        made.remove(path)
    made.prune()


def value(found: Cgroups, path: str, v1: tuple[str, str], v2: str) -> str:
    """A file of the cgroup at `path`: controller and name on v1, name on v2."""
    for folder in found.folders(path):
        file = Path(folder) / (v2 if found.unified else v1[1])
        if found.unified or f"/{v1[0]}/" in folder:
            return file.read_text().strip()
    raise AssertionError(path)


CPU = (("cpu", "cpu.shares"), "cpu.weight")
MEMORY = (("memory", "memory.limit_in_bytes"), "memory.max")


@pytest.mark.root
def test_a_pods_class_says_where_its_cgroup_is(found: Cgroups) -> None:
    """And what exists stays where it is, whatever the class is said to be later."""
    assert [found.pod_path("u", qos) for qos in ("Guaranteed", "Burstable", "BestEffort", "")] == [
        "podu", "burstable/podu", "besteffort/podu", "podu",
    ]  # fmt: skip
    found.create("besteffort/podu", Limits(), leaf=False)
    assert found.pod_path("u", "Guaranteed") == "besteffort/podu"


@pytest.mark.root
def test_the_node_and_the_classes_have_limits_of_their_own(found: Cgroups) -> None:
    """The node's memory is bounded, best effort pods share what is left, burstable ones weigh what they weigh together."""
    for number, asked in enumerate((500, 1500)):
        found.create(f"burstable/pod{number}", Limits(cpu_request=asked), leaf=False)
    found.create("besteffort/pod2", Limits(), leaf=False)
    assert value(found, "", *MEMORY) == str(1 << 30)
    each = [int(value(found, f"burstable/pod{number}", *CPU)) for number in (0, 1)]
    assert int(value(found, "burstable", *CPU)) == sum(each) > 0
    assert int(value(found, "besteffort", *CPU)) == (1 if found.unified else 2)
    assert found.remove("burstable/pod1")
    assert int(value(found, "burstable", *CPU)) == each[0]
    assert found.list() == {"burstable/pod0", "besteffort/pod2"}


@pytest.mark.root
def test_nothing_is_left_of_classes_that_have_no_pods(found: Cgroups) -> None:
    """Nor of the node when the last pod has gone."""
    found.create("burstable/pod0", Limits(), leaf=False)
    found.create("burstable/pod0/main-0", Limits(), leaf=True)
    assert found.remove("burstable/pod0")
    found.prune()
    assert not any(Path(folder).exists() for folder in found.folders(""))


@pytest.mark.root
def test_usage_counts_what_is_below(found: Cgroups) -> None:
    """Memory that a process holds and the process itself, seen from the node; zero where nothing is."""
    assert found.usage("none") == Usage(0, 0)
    found.create("besteffort/pod0", Limits(), leaf=False)
    folders = found.create("besteffort/pod0/main-0", Limits(), leaf=True)
    # It joins by itself before it allocates: memory is charged to the cgroup that a process is in at that moment.
    program = "import os,sys\nfor f in sys.argv[1:]: open(f+'/cgroup.procs','w').write(str(os.getpid()))\nx=b'a'*(32<<20)\nprint('x',flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-I", "-c", program, *folders], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline()
        used = found.usage("")
        process.communicate(b"\n")
    assert used.memory >= 32 << 20
    assert used.pids == 1
