"""How much is in a folder, whoever made it."""

from __future__ import annotations

import gc
import itertools
import os
from pathlib import Path

import pytest

from nodeagent.eviction import usage
from nodeagent.eviction.usage import Disk, Meter, Place, measure, storage_of
from nodeagent.linux import rmtree
from tests.support.objects import pod

MIB = 1 << 20


def written(path: Path, mebibytes: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(mebibytes * MIB))
    return path


def test_files_and_folders_at_every_depth(tmp_path: Path) -> None:
    """Bytes on the disk, and how many inodes hold them."""
    written(tmp_path / "a", 1)
    written(tmp_path / "x/y/z/b", 2)
    found = measure(tmp_path)
    assert 3 * MIB <= found.used < 3.2 * MIB
    assert found.inodes == 6


def test_a_sparse_file_costs_what_it_holds(tmp_path: Path) -> None:
    """Its length is nobody's disk."""
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 40)
    assert measure(tmp_path).used < MIB


def test_a_file_of_two_names_counts_once(tmp_path: Path) -> None:
    """Also in two folders."""
    first = written(tmp_path / "a/one", 1)
    (tmp_path / "b").mkdir()
    os.link(first, tmp_path / "b/two")
    assert measure(tmp_path).used < 2 * MIB


def test_no_link_is_followed(tmp_path: Path) -> None:
    """Neither one inside the tree nor the tree itself."""
    written(tmp_path / "host/big", 4)
    inside = tmp_path / "pod"
    inside.mkdir()
    (inside / "file").symlink_to(tmp_path / "host/big")
    (inside / "folder").symlink_to(tmp_path / "host")
    assert measure(inside).used < MIB
    assert measure(inside / "folder") == Disk()


def test_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    """A container that never ran has no layer."""
    assert measure(tmp_path / "none") == Disk()


def begun() -> Meter:
    meter = Meter()
    meter.begin()
    return meter


def look(meter: Meter, *trees: Path) -> Disk:
    """One look at some trees, and what is known of them together."""
    meter.begin()
    return sum(map(meter.tree, trees), Disk())


def test_many_trees_of_one_pod_cost_each_look_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And hide nothing from it: after some looks each tree is counted, also while others, which are larger than a look, grow."""
    monkeypatch.setattr(usage, "ENTRIES_AT_ONCE", 10)
    trees = [tmp_path / str(number) for number in range(5)]
    for tree in trees:
        tree.mkdir()
        for number in range(14):
            (tree / str(number)).touch()
    written(trees[-1] / "big", 2)
    meter, opened = Meter(), len(os.listdir("/proc/self/fd"))
    found = [look(meter, *trees)]
    # A walk that is paused, and none for the trees that were not reached.
    assert len(os.listdir("/proc/self/fd")) <= opened + 2
    found += [look(meter, *trees) for _ in range(12)]
    assert all(later.inodes - earlier.inodes <= 11 for earlier, later in itertools.pairwise(found))
    assert found[0].inodes <= 11
    assert found[-1] == sum(map(measure, trees), Disk())
    for number in range(30):
        (trees[0] / f"more-{number}").touch()
    written(trees[-1] / "bigger", 3)
    looks = [look(meter, *trees) for _ in range(25)]
    assert looks[-1] == sum(map(measure, trees), Disk())


def test_a_look_ends_when_its_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow disk; the next continues."""
    monkeypatch.setattr(usage, "CHECKED_EVERY", 5)
    for number in range(20):
        written(tmp_path / f"tree/{number}", 0)
    meter = Meter()
    meter.begin(lambda: True)
    assert meter.tree(tmp_path / "tree").inodes == 6
    assert look(meter, tmp_path / "tree") == measure(tmp_path / "tree")


def test_files_without_number_hide_nothing_and_cost_each_look_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look counts some of a tree; the next goes on there, until all is counted; and what is deleted is so in time."""
    monkeypatch.setattr(usage, "ENTRIES_AT_ONCE", 10)
    for directory in ("a", "a/b", "z"):
        (tmp_path / "tree" / directory).mkdir(parents=True, exist_ok=True)
        for number in range(25):
            (tmp_path / "tree" / directory / str(number)).touch()
    written(tmp_path / "tree/a/b/big", 2)
    meter = Meter()
    found = [look(meter, tmp_path / "tree") for _ in range(9)]
    assert all(later.inodes - earlier.inodes <= 10 for earlier, later in itertools.pairwise(found))
    assert found[0].inodes <= 11
    assert found[-1] == measure(tmp_path / "tree")
    (tmp_path / "tree/a/b/big").unlink()
    found = [look(meter, tmp_path / "tree") for _ in range(18)]
    assert found[0].used >= 2 * MIB, "as the last whole walk had it"
    assert found[-1] == measure(tmp_path / "tree")


def test_a_meter_leaves_no_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "ENTRIES_AT_ONCE", 1)
    (tmp_path / "tree/a").mkdir(parents=True)
    (tmp_path / "tree/a/b").touch()
    # Of earlier tests.
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    meter = Meter()
    look(meter, tmp_path / "tree")
    del meter
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_depth_hides_anything(tmp_path: Path) -> None:
    """However deep a container nests its folders; and no descriptor is left."""
    root = tmp_path / "deep"
    root.mkdir()
    here = os.open(root, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(file, os.urandom(MIB))
    os.close(file)
    os.close(here)
    before = len(os.listdir("/proc/self/fd"))
    found = measure(root)
    assert found.inodes == 3002
    assert found.used >= MIB
    assert len(os.listdir("/proc/self/fd")) == before
    rmtree.remove(root)


@pytest.mark.parametrize("kept_open", [1, 64])
def test_what_moves_while_it_is_measured_leads_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_open: int
) -> None:
    """Coming back by `..` to another place, it counts nothing there; by a descriptor it comes back to the right one."""
    monkeypatch.setattr(usage, "KEPT_OPEN", kept_open)
    written(tmp_path / "elsewhere/big", 4)
    written(tmp_path / "pod/a/b/file", 1)
    (tmp_path / "pod/z").mkdir()
    walk = usage._Walk(os.open(tmp_path / "pod", usage._OPEN))
    walk.allow(5)
    while walk.step():
        pass
    walk.allow(1000)
    (tmp_path / "pod/a/b").rename(tmp_path / "elsewhere/b")
    while walk.step():
        pass
    walk.close()
    assert walk.found.used < 2 * MIB


def test_a_pods_layers_logs_and_volumes(tmp_path: Path) -> None:
    """Each container's layer with all of its logs; emptyDirs alone of the volumes."""
    place = Place(tmp_path / "pod", tmp_path / "logs", "pod1", (("main", 0), ("main", 1)))
    written(place.folder / "containers/main/1/upper/file", 1)
    written(place.logs / "main/0.log", 2)
    written(place.logs / "main/1.log", 3)
    written(place.folder / "volumes/data/file", 4)
    written(place.folder / "volumes/settings/file", 5)
    # Files of the pod's that containers may write.
    written(place.folder / "etc-hosts", 7)
    written(place.folder / "resolv.conf", 9)
    written(place.folder / "hostname", 10)
    written(place.folder / "containers/main/1/termination-log", 8)
    subject = pod("web", volumes=[{"name": "data", "emptyDir": {}}, {"name": "settings", "configMap": {"name": "x"}}])
    layers, volumes = storage_of(subject, place, begun())
    assert {name: disk.used // MIB for name, disk in layers.items()} == {"main": 6 + 7 + 8 + 9 + 10}
    assert {name: disk.used // MIB for name, disk in volumes.items()} == {"data": 4}


def test_renames_deep_in_a_tree_hide_nothing_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk that cannot come back by `..` continues further up."""
    monkeypatch.setattr(usage, "KEPT_OPEN", 2)
    written(tmp_path / "tree/a/b/c/d/file", 1)
    for number in range(20):
        written(tmp_path / f"tree/z{number}/big", 1)
    walk = usage._Walk(os.open(tmp_path / "tree", usage._OPEN))
    walk.allow(1000)
    while walk.step():
        if len(walk._path) >= 4 and (tmp_path / "tree/a/b/c/d").exists():
            (tmp_path / "tree/a/b/c/d").rename(tmp_path / "elsewhere")
    walk.close()
    assert walk.found.used >= 20 * MIB
