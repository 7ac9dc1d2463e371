"""Deleting what containers left."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.linux import rmtree


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("few_descriptors")
def test_a_tree_of_any_depth_goes(tmp_path: Path) -> None:
    """Deeper than Python recurses, than a path may be long, and than there are descriptors."""
    root = tmp_path / "root"
    root.mkdir()
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(2500):
        os.mkdir("folder", dir_fd=here)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        below = os.open("folder", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    rmtree.remove(root)
    assert not root.exists()
    rmtree.remove(root)


def test_names_in_the_way_do_not_matter(tmp_path: Path) -> None:
    """Whatever a container called its files and folders."""
    root = tmp_path / "root"
    for number in range(3):
        (root / f"..lifted-{number}/deep/deeper").mkdir(parents=True)
        (root / f"..lifted-{number}/deep/file").touch()
    (root / "..lifted-3").touch()
    (root / "wide").mkdir()
    for number in range(50):
        (root / f"wide/{number}/x").mkdir(parents=True)
    rmtree.remove(root)
    assert not root.exists()


def test_symlinks_go_and_what_they_point_to_stays(tmp_path: Path) -> None:
    """To files, folders and nowhere; a root that is one is refused."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").touch()
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    for place in (root, root / "a"):
        (place / "folder").symlink_to(tmp_path / "kept")
        (place / "file").symlink_to(tmp_path / "kept/file")
        (place / "none").symlink_to("none")
    (tmp_path / "link").symlink_to(root)
    with pytest.raises(OSError):
        rmtree.remove(tmp_path / "link")
    rmtree.remove(root)
    assert (tmp_path / "kept/file").exists()
    assert not root.exists()


@pytest.mark.root
def test_nothing_is_deleted_through_a_mount(tmp_path: Path) -> None:
    """It says that something is mounted, and leaves it."""
    mounted = tmp_path / "root/a/mounted"
    mounted.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "test", str(mounted)], check=True)
    try:
        (mounted / "file").touch()
        with pytest.raises(OSError, match=r"busy|mounted"):
            rmtree.remove(tmp_path / "root")
        assert subprocess.run(["find", str(tmp_path), "-name", "file"], capture_output=True, check=True).stdout
    finally:
        target = subprocess.run(["findmnt", "-no", "TARGET", "--source", "test"], capture_output=True, text=True, check=True)
        for line in target.stdout.split():
            subprocess.run(["umount", line], check=True)


def test_a_deletion_is_made_in_steps_and_may_be_given_up(tmp_path: Path) -> None:
    """Each deletes about one entry, in a wide directory too; given up, it keeps nothing open, and another deletes the rest."""
    root, opened = tmp_path / "root", len(os.listdir("/proc/self/fd"))
    (root / "sub").mkdir(parents=True)
    for number in range(100):
        (root / f"sub/{number}").touch()
    steps = rmtree.removing(root)
    for _ in range(50):
        next(steps)
    assert 45 <= len(list((root / "sub").iterdir())) <= 60
    del steps
    assert len(os.listdir("/proc/self/fd")) == opened
    rmtree.remove(root)
    assert not root.exists()


def test_two_deletions_of_one_tree_do_not_fail_each_other(tmp_path: Path) -> None:
    """One of an agent's worker that failed, and that of the next."""
    root = tmp_path / "root"
    for number in range(10):
        (root / f"{number}/{number}").mkdir(parents=True)
        (root / f"{number}/file").touch()
    one, other = rmtree.removing(root), rmtree.removing(root)
    ends = [False, False]
    while not all(ends):
        for place, steps in enumerate((one, other)):
            ends[place] = next(steps, "end") == "end"
    assert not root.exists()
