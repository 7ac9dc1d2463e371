"""Packing and unpacking below a root: by descriptor, and nowhere else."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from nodeagent.launcher import tarstreams
from nodeagent.launcher.tarpack import pack
from nodeagent.launcher.tarunpack import unpack


@pytest.fixture
def root(tmp_path: Path) -> Any:
    """A container's root; `secret` lies outside."""
    (tmp_path / "secret").write_text("of the node")
    inside = tmp_path / "root"
    for name in ("tmp", "etc"):
        (inside / name).mkdir(parents=True)
    (inside / "etc/hosts").write_text("hosts")
    before = os.umask(0o022)
    descriptor = os.open(inside, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor, inside
    os.close(descriptor)
    os.umask(before)


def packed(root: int, path: str) -> dict[str, tarfile.TarInfo]:
    out = io.BytesIO()
    pack(root, path, out)
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        return {member.name: member for member in tar}


def stream(*members: tuple[str, Any]) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, value in members:
            info = tarfile.TarInfo(name)
            if isinstance(value, bytes):
                info.size = len(value)
                tar.addfile(info, io.BytesIO(value))
            else:
                info.type, info.linkname = (tarfile.DIRTYPE, "") if value is None else (tarfile.SYMTYPE, value)
                info.mode = 0o755
                tar.addfile(info)
    out.seek(0)
    return out


def test_links_of_the_path_stay_in_the_root(root: Any) -> None:
    """Absolute and climbing ones lead to the container's own files; inner ones are packed as links."""
    fd, inside = root
    (inside / "tmp/abs").symlink_to("/etc")
    (inside / "tmp/up").symlink_to("../../../../secret")
    assert set(packed(fd, "/tmp/abs")) == {"abs", "abs/hosts"}
    with pytest.raises(FileNotFoundError):
        packed(fd, "/tmp/up")
    assert packed(fd, "/tmp")["tmp/up"].linkname == "../../../../secret"


@pytest.mark.parametrize(
    "members",
    [
        [("../secret", b"x")],
        [("/secret", b"x")],
        [("a/../../secret", b"x")],
        [("a", "/"), ("a/secret", b"x")],
        [("a", None), ("a/l", "../.."), ("a/l/secret", b"x")],
    ],
)
def test_hostile_streams_are_refused(root: Any, members: list[tuple[str, Any]]) -> None:
    """Nothing is written through a link, and nothing above the destination."""
    fd, inside = root
    with pytest.raises(OSError):
        unpack(fd, "/tmp", stream(*members))
    assert (inside.parent / "secret").read_text() == "of the node"
    assert not (inside / "secret").exists()


def test_destination_is_a_folder_or_a_name(root: Any) -> None:
    """Into what is there, or under the new name; through a link of the container's, inside it."""
    fd, inside = root
    (inside / "tmp/out").symlink_to("/etc")
    unpack(fd, "/tmp", stream(("a", b"1")))
    unpack(fd, "/tmp/b", stream(("a", b"2")))
    unpack(fd, "/tmp/out", stream(("a", b"3")))
    assert [(inside / name).read_text() for name in ("tmp/a", "tmp/b", "etc/a")] == ["1", "2", "3"]
    for path in ("/none/b", "/tmp/none/"):
        with pytest.raises(tarstreams.Refused, match="no such folder"):
            unpack(fd, path, stream(("a", b"1")))


def test_a_file_that_shrinks_does_not_break_the_stream(root: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its place is filled, and the code says that something is wrong."""
    fd, inside = root
    (inside / "tmp/shrinks").write_bytes(b"x" * 100_000)
    (inside / "tmp/then").write_text("whole")
    real = os.fstat

    def grown(descriptor: int) -> Any:
        found = real(descriptor)
        if found.st_size == 100_000:
            os.truncate(inside / "tmp/shrinks", 10)
        return found

    monkeypatch.setattr(os, "fstat", grown)
    out = io.BytesIO()
    assert pack(fd, "/tmp", out) == 1
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        content = tar.extractfile("tmp/then")
        assert content is not None
        assert content.read() == b"whole"


def test_deep_trees_end_somewhere(root: Any) -> None:
    """A tree deeper than is packed is packed as far as it goes."""
    fd, inside = root
    current = os.open(inside / "tmp", os.O_RDONLY)
    for _ in range(tarstreams.MAX_DEPTH + 20):
        os.mkdir("d", dir_fd=current)
        following = os.open("d", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = following
    os.close(current)
    assert len(packed(fd, "/tmp")) == tarstreams.MAX_DEPTH + 1
