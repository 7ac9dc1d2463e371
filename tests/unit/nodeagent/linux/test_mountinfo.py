"""Which mount must answer for a path, found without asking it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from nodeagent.linux import mountinfo
from nodeagent.linux.mountinfo import Mount, answering


def mounted(folder: Path) -> list[Mount]:
    return [
        Mount("/", "8:1", "ext4", "/dev/sda1"),
        Mount(f"{folder}/disk", "8:2", "xfs", "/dev/sdb"),
        Mount(f"{folder}/one", "0:50", "nfs4", "files.example:/exports/one"),
        Mount(f"{folder}/two", "0:51", "nfs4", "files.example:/exports/two"),
        Mount(f"{folder}/share", "0:52", "cifs", "//windows.example/share/x"),
        Mount(f"{folder}/user", "0:53", "fuse.sshfs", "somebody@host:/"),
        Mount(f"{folder}/hidden", "0:54", "nfs4", "files.example:/old"),
        Mount(f"{folder}/hidden", "0:55", "tmpfs", "tmpfs"),
    ]


@pytest.mark.parametrize(
    ("path", "by"),
    [
        ("", ""),
        ("disk/a/b", ""),
        ("one/a", "server files.example"),
        ("one", "server files.example"),
        ("two/../two/b", "server files.example"),
        ("one-more", ""),
        ("share/a", "server windows.example"),
        ("user/a", "fuse.sshfs 0:53"),
        ("hidden/a", ""),
        ("disk/link/x", "server files.example"),
        ("disk/absolute", "server files.example"),
        ("disk/back/../plain", ""),
        ("disk/loop/x", ""),
    ],
)
def test_what_answers_for_a_path(tmp_path: Path, path: str, by: str) -> None:
    """Links lead there too, relative and absolute; a loop of them leads nowhere."""
    (tmp_path / "disk/sub").mkdir(parents=True)
    (tmp_path / "disk/link").symlink_to("../two/deep")
    (tmp_path / "disk/absolute").symlink_to(f"{tmp_path}/one/x")
    (tmp_path / "disk/back").symlink_to("sub")
    (tmp_path / "disk/loop").symlink_to("loop")
    assert answering(f"{tmp_path}/{path}", mounted(tmp_path)) == by


@pytest.mark.root
def test_the_mounts_of_this_machine_are_read(tmp_path: Path) -> None:
    """With any name."""
    point = tmp_path / "a b"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "some source", str(point)], check=True)
    try:
        [found] = [mount for mount in mountinfo.mounts() if mount.point == str(point)]
    finally:
        subprocess.run(["umount", str(point)], check=True)
    assert (found.type, found.source, found.answers) == ("tmpfs", "some source", "")
    assert os.path.ismount("/")
    assert any(mount.point == "/" for mount in mountinfo.mounts())
