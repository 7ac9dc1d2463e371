"""A layer's folder as a tar: always the same, and what comes out of it again is the same layer."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import stat
import tarfile
from pathlib import Path

import pytest

from nodeagent.building import layertar
from nodeagent.building.errors import BuildError
from nodeagent.images.unpack import unpack

pytestmark = pytest.mark.root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Everything that a layer may hold."""
    root = tmp_path / "upper"
    (root / "bin").mkdir(parents=True)
    (root / "bin/tool").write_bytes(b"x" * 1000)
    os.chown(root / "bin/tool", 1234, 70_000)
    os.chmod(root / "bin/tool", 0o4755)
    os.link(root / "bin/tool", root / "bin/also")
    os.symlink("/etc/passwd", root / "link")
    os.mkfifo(root / "fifo", 0o640)
    os.mknod(root / "gone", stat.S_IFCHR | 0o600, 0)
    (root / "opaque").mkdir()
    os.setxattr(root / "opaque", "trusted.overlay.opaque", b"y")
    (root / "opaque/new").write_text("new")
    (root / ("long" * 40)).mkdir()
    (root / ("long" * 40) / ("ümlaut" * 20)).write_text("")
    (root / os.fsdecode(b"not-utf8-\xff")).write_text("bytes")
    for path in sorted(root.rglob("*"), reverse=True):
        if not path.is_symlink():
            os.utime(path, (1_000_000_000, 1_000_000_000))
    return root


def packed(folder: Path) -> bytes:
    return b"".join(layertar.stream(folder))


def test_the_tar_has_oci_whiteouts(folder: Path) -> None:
    """No device, no xattr of overlayfs; modes, owners, links and times as they are."""
    with tarfile.open(fileobj=io.BytesIO(packed(folder))) as tar:
        members = {member.name: member for member in tar}
        assert {".wh.gone", "opaque/.wh..wh..opq", "opaque/new"} <= set(members)
        assert "gone" not in members
        assert not any(member.ischr() for member in members.values())
        tool = members["bin/also"]
        assert (tool.uid, tool.gid, tool.mode, tool.size, tool.mtime) == (1234, 70_000, 0o4755, 1000, 1_000_000_000)
        assert members["bin/tool"].linkname == "bin/also"
        assert members["bin/tool"].islnk()
        assert members["link"].linkname == "/etc/passwd"
        assert members["fifo"].isfifo()


def test_size_and_digest_are_those_of_the_stream(folder: Path) -> None:
    """So an archive's header can be written before its content."""
    data = packed(folder)
    assert layertar.size(folder) == len(data)
    assert layertar.digest(folder) == "sha256:" + hashlib.sha256(data).hexdigest()


def test_unpacking_makes_the_same_layer(folder: Path, tmp_path: Path) -> None:
    """What `unpack` makes of the tar gives the same bytes, but for the times of folders."""
    again = tmp_path / "again"
    again.mkdir()
    unpack(io.BytesIO(packed(folder)), str(again), "layer")
    for path in again.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            os.utime(path, (1_000_000_000, 1_000_000_000))
    assert os.getxattr(again / "opaque", "trusted.overlay.opaque") == b"y"
    assert os.lstat(again / "gone").st_rdev == 0
    assert packed(again) == packed(folder)


def test_the_order_of_making_does_not_show(tmp_path: Path) -> None:
    """Two folders of the same content, made in different orders."""
    tars = []
    for name, order in (("a", ["x", "y", "z"]), ("b", ["z", "x", "y"])):
        for item in order:
            (tmp_path / name / item).mkdir(parents=True)
        for item in order:
            os.utime(tmp_path / name / item, (1, 1))
        tars.append(packed(tmp_path / name))
    assert tars[0] == tars[1]


def test_tidy_removes_what_no_tar_can_hold(folder: Path) -> None:
    """Sockets and devices; whiteouts stay."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
    os.mknod(folder / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(folder / "disk", stat.S_IFBLK | 0o600, os.makedev(8, 0))
    layertar.tidy(folder)
    assert not {"socket", "null", "disk"} & set(os.listdir(folder))
    assert "gone" in os.listdir(folder)


def test_a_file_named_like_a_whiteout_is_refused(folder: Path) -> None:
    """On another node it would be a deletion."""
    (folder / "bin/.wh.tool").touch()
    with pytest.raises(BuildError, match=r"/bin/\.wh\.tool"):
        layertar.tidy(folder)


def test_capabilities_of_files_are_kept(tmp_path: Path) -> None:
    """As a pax header, as Docker has it."""
    (tmp_path / "ping").touch()
    value = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(tmp_path / "ping", "security.capability", value)
    with tarfile.open(fileobj=io.BytesIO(packed(tmp_path))) as tar:
        text = tar.getmember("ping").pax_headers["SCHILY.xattr.security.capability"]
    assert text.encode("utf-8", "surrogateescape") == value
