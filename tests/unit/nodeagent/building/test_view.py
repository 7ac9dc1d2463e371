"""Several layers as one tree, and nothing left mounted."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nodeagent.building import leftovers, view
from nodeagent.linux import syscalls

pytestmark = pytest.mark.root


def mounts(folder: Path) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line]


def made(folder: Path, **files: str) -> str:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return str(folder)


def test_the_topmost_layer_wins_and_what_is_written_goes_to_upper(tmp_path: Path) -> None:
    """A deletion becomes a whiteout; the layers stay as they are."""
    layers = [made(tmp_path / "top", both="top"), made(tmp_path / "base", both="base", low="low")]
    with view.merged(layers, tmp_path / "view") as root:
        assert not mounts(tmp_path)
        assert view.read_file(root, "/both") == b"top"
        assert view.read_file(root, "low") == b"low"
        assert view.read_file(root, "none") == b""
        os.unlink("low", dir_fd=root)
        os.close(os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=root))
    assert set(os.listdir(tmp_path / "view/upper")) == {"low", "new"}
    assert stat.S_ISCHR(os.lstat(tmp_path / "view/upper/low").st_mode)
    assert (tmp_path / "base/low").read_text() == "low"


def test_without_layers_it_is_an_empty_folder(tmp_path: Path) -> None:
    """FROM scratch."""
    with view.merged([], tmp_path / "view") as root:
        assert os.listdir(root) == []
        os.mkdir("x", dir_fd=root)
    assert os.listdir(tmp_path / "view/upper") == ["x"]


def test_as_many_layers_as_an_image_may_have(tmp_path: Path) -> None:
    """Whatever the length of their paths."""
    long = tmp_path / ("long" * 30)
    layers = [made(long / str(number), **{f"f{number}": ""}) for number in range(120)]
    with view.merged(layers, tmp_path / "view") as root:
        assert len(os.listdir(root)) == 120


def test_a_file_is_read_inside_of_the_root(tmp_path: Path) -> None:
    """A link leads to the image's own file."""
    os.symlink("/outside", made(tmp_path / "base", outside="inside") + "/link")
    with view.merged([str(tmp_path / "base")], tmp_path / "view") as root:
        assert view.read_file(root, "link") == b"inside"


def test_what_a_killed_builder_left_mounted_is_detached(tmp_path: Path) -> None:
    """Everything below its folder, and nothing beside it."""
    for name in ("a/1/rootfs", "a/2", "ab"):
        (tmp_path / name).mkdir(parents=True)
        syscalls.mount("tmpfs", tmp_path / name, "tmpfs", 0, "size=4k")
    try:
        leftovers.unmount(tmp_path / "a")
        assert len(mounts(tmp_path)) == 1
    finally:
        syscalls.umount(tmp_path / "ab", syscalls.MNT_DETACH)
