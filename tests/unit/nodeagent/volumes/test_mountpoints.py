"""Mount points inside volumes that show files: which there are, and that they are made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nodeagent.volumes import atomicwriter, mountpoints
from nodeagent.volumes.content import File
from tests.support.objects import pod

VOLUMES = [
    {"name": "v", "configMap": {"name": "c"}}, {"name": "w", "configMap": {"name": "c"}}, {"name": "e", "emptyDir": {}},
]  # fmt: skip


def with_mounts(*mounts: str, **container: Any) -> Any:
    """A pod whose container mounts volumes by name: "v:/path", or "v:/path:sub/path"."""
    items = []
    for text in mounts:
        name, path, *sub = text.split(":")
        items.append({"name": name, "mountPath": path, **({"subPath": sub[0]} if sub else {})})
    return pod("p", {"name": "main", "image": "busybox", "volumeMounts": items, **container}, volumes=VOLUMES)


def paths(volume: str, made: Any, files: tuple[str, ...] = ()) -> list[str]:
    return sorted(point.path for point in mountpoints.nested(volume, made, files))


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        (("v:/a", "e:/a/b"), ["b"]),
        (("e:/a/b", "v:/a"), ["b"]),
        (("v:/a/", "e:/a//b/"), ["b"]),
        (("v:/a", "e:/a/b", "w:/a/b/c"), ["b"]),
        (("v:/a", "e:/a/b", "w:/a/bc"), ["b", "bc"]),
        (("v:/a", "e:/a/b/c"), ["b/c"]),
        (("v:/a", "e:/ab"), []),
        (("v:/a", "v:/a/b"), ["b"]),
        (("v:/a", "e:/a/b", "v:/c", "e:/c/d"), ["b", "d"]),
        (("v:/a:sub", "e:/a/b"), []),
        (("e:/a", "v:/a/b"), []),
    ],
)
def test_what_is_mounted_below_a_volume(mounts: tuple[str, ...], expected: list[str]) -> None:
    """Whatever the order in the manifest, and only the outermost."""
    assert paths("v", with_mounts(*mounts)) == expected


def test_files_of_the_pod_below_a_volume() -> None:
    """A volume at /etc has /etc/hosts, another one the termination message."""
    made = with_mounts("v:/etc", "w:/logs", terminationMessagePath="/logs/end")
    assert paths("v", made, ("/etc/hosts", "/etc/hostname")) == ["hostname", "hosts"]
    assert paths("w", made, ("/etc/hosts",)) == ["end"]


def write(folder: Path, points: list[mountpoints.MountPoint], **files: str) -> None:
    """As the volume manager does."""
    content = {name.replace("__", "/"): File(text.encode(), 0o644) for name, text in files.items()}
    atomicwriter.write(folder, content, None, frozenset(point.top for point in points))
    mountpoints.make(str(folder), points, lambda mount: mount.subPath == "file")


def visible(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith(".."))


def test_they_are_directories_or_files_that_stay(tmp_path: Path) -> None:
    """Over updates of the volume, which add and remove keys; with a strict umask too."""
    points = mountpoints.nested("v", with_mounts("v:/a", "e:/a/dir/deep", "w:/a/one:file"), ())
    before = os.umask(0o022)
    try:
        write(tmp_path, points, key="1")
        assert visible(tmp_path) == ["dir", "key", "one"]
        write(tmp_path, points, other="2")
    finally:
        os.umask(before)
    assert visible(tmp_path) == ["dir", "one", "other"]
    assert (tmp_path / "dir/deep").is_dir()
    assert (tmp_path / "one").is_file()
    assert {os.stat(tmp_path / name).st_mode & 0o777 for name in ("dir", "dir/deep")} == {0o755}


def test_they_hide_keys_of_their_name(tmp_path: Path) -> None:
    """Also where they come later, with an ephemeral container: a mount below a key's symlink would end with an update."""
    points = mountpoints.nested("v", with_mounts("v:/a", "e:/a/key", "e:/a/sub/below"), ())
    write(tmp_path, [], key="1", sub__file="2", other="3")
    write(tmp_path, points, key="1", sub__file="2", other="3")
    assert not (tmp_path / "key").is_symlink()
    assert os.listdir(tmp_path / "key") == []
    assert os.listdir(tmp_path / "sub") == ["below"]
    write(tmp_path, points, key="4", sub__file="2", other="5")
    assert os.listdir(tmp_path / "sub") == ["below"]
    assert (tmp_path / "other").read_text() == "5"


def test_what_a_mount_shows_is_found_without_leaving_its_volume(tmp_path: Path) -> None:
    """A container may have put a symlink there."""
    (tmp_path / "volume/dir").mkdir(parents=True)
    (tmp_path / "volume/file").touch()
    (tmp_path / "outside").touch()
    (tmp_path / "volume/out").symlink_to("../outside")
    (tmp_path / "volume/in").symlink_to("file")
    found = {path: mountpoints.shows_file(str(tmp_path / "volume"), path) for path in ("", "dir", "file", "in", "out", "none")}
    assert found == {"": False, "dir": False, "file": True, "in": True, "out": False, "none": False}
    assert mountpoints.shows_file(str(tmp_path / "outside"), "")
    assert not mountpoints.shows_file(str(tmp_path / "none"), "")
