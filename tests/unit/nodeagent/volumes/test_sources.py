"""emptyDir in memory, and hostPath: sizes and checks."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from nodeagent.volumes import emptydir, hostpath
from nodeagent.volumes.content import VolumeError
from tests.support.objects import container, pod

FACTS = {"allocatable.memory": "1Gi"}
MIB = 1 << 20


def limited(name: str, memory: str = "", **rest: Any) -> Any:
    return container(name, **({"resources": {"limits": {"memory": memory}}} if memory else {}), **rest)


@pytest.mark.parametrize(
    ("subject", "limit", "expected"),
    [
        (pod("web", limited("a")), "", 1024 * MIB),
        (pod("web", limited("a")), "8Mi", 8 * MIB),
        (pod("web", limited("a", "64Mi"), limited("b", "64Mi")), "", 128 * MIB),
        (pod("web", limited("a", "64Mi"), limited("b")), "", 1024 * MIB),
        (pod("web", limited("a", "64Mi")), "256Mi", 64 * MIB),
        (pod("web", limited("a", "64Mi")), "0", 64 * MIB),
        (pod("web", limited("a", "64Mi"), init=(limited("i", "256Mi"),)), "", 256 * MIB),
        (pod("web", limited("a", "64Mi"), init=(limited("s", "64Mi", restartPolicy="Always"),)), "", 128 * MIB),
        (pod("web", limited("a", "4Gi")), "", 1024 * MIB),
    ],
)
def test_a_volume_in_memory_is_no_larger_than_what_holds_it(subject: Any, limit: str, expected: int) -> None:
    """The least of its own limit, the pod's and the node's; zero is no limit."""
    subject.spec.volumes.add(name="v").volumeSource.emptyDir.medium = "Memory"
    source = subject.spec.volumes[0].volumeSource.emptyDir
    source.sizeLimit.string = limit
    assert emptydir.memory_size(subject, source, FACTS) == expected


def test_or_create_makes_what_is_missing(tmp_path: Path) -> None:
    """Folders and files; without a type a folder."""
    hostpath.check(str(tmp_path / "a/b"), "DirectoryOrCreate")
    hostpath.check(str(tmp_path / "c"), "")
    hostpath.check(str(tmp_path / "f"), "FileOrCreate")
    assert ((tmp_path / "a/b").is_dir(), (tmp_path / "c").is_dir(), (tmp_path / "f").is_file()) == (True, True, True)


def test_a_relative_host_path_begins_at_the_root() -> None:
    """Wherever the agent was started."""
    assert [hostpath.on_node(path) for path in ("var/log", "/var/log", ".")] == ["/var/log", "/var/log", "/."]


@pytest.mark.shows("spec.volumes[].hostPath.type")
@pytest.mark.parametrize(
    ("name", "type_", "message"),
    [
        ("file", "File", ""),
        ("file", "FileOrCreate", ""),
        ("file", "", ""),
        ("folder", "Directory", ""),
        ("socket", "Socket", ""),
        ("/dev/null", "CharDevice", ""),
        ("file", "Directory", "is not a directory"),
        ("file", "DirectoryOrCreate", "is not a directory"),
        ("folder", "File", "is not a file"),
        ("file", "Socket", "is not a socket file"),
        ("file", "CharDevice", "is not a character device"),
        ("/dev/null", "BlockDevice", "is not a block device"),
        ("none", "Directory", "does not exist"),
        ("dangling", "", "does not exist"),
    ],
)
def test_a_path_must_be_of_its_type(tmp_path: Path, name: str, type_: str, message: str) -> None:
    """Kubelet's words."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("none")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        path = str(tmp_path / name)
        if not message:
            hostpath.check(path, type_)
            return
        with pytest.raises(VolumeError) as caught:
            hostpath.check(path, type_)
    assert str(caught.value) == f"hostPath type check failed: {path} {message}"
