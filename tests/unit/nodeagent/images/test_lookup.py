"""A file of an image is the one that its containers see: whiteouts, opaque directories and links count across layers."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from nodeagent.images.store import ImageStore
from tests.support import archives
from tests.support.archives import layer, member

pytestmark = pytest.mark.root
DIR, LINK = tarfile.DIRTYPE, tarfile.SYMTYPE
BASE = layer(member("etc", DIR), ("etc/passwd", "base"), ("usr/share/passwd", "shared"), ("etc/deep/passwd", "deep"))
CASES = {
    "removed by a whiteout": ([("etc/.wh.passwd", "")], "etc/passwd", ""),
    "below an opaque directory": ([member("etc", DIR), ("etc/.wh..wh..opq", "")], "etc/passwd", ""),
    "below a removed directory": ([(".wh.etc", "")], "etc/deep/passwd", ""),
    "below a directory that became a file": ([("etc", "a file")], "etc/passwd", ""),
    "in a directory that both layers have": ([("etc/group", "top")], "etc/passwd", "base"),
    "a link to another layer": ([member("etc/passwd", LINK, "../usr/share/passwd")], "etc/passwd", "shared"),
    "an absolute link": ([member("etc/passwd", LINK, "/usr/share/./passwd")], "/etc//passwd", "shared"),
    "a directory that is a link": ([(".wh.etc", ""), member("cfg", LINK, "usr/share")], "cfg/passwd", "shared"),
    "a link that leads out": ([member("etc/passwd", LINK, "../../../../etc/hostname")], "etc/passwd", ""),
    "a link to itself": ([member("etc/passwd", LINK, "passwd")], "etc/passwd", ""),
    "a directory": ([], "etc", ""),
    "a path through a file": ([], "etc/passwd/more", ""),
    "a fifo": ([member("etc/passwd", tarfile.FIFOTYPE)], "etc/passwd", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_a_file_is_the_one_that_containers_see(tmp_path: Path, name: str) -> None:
    """Empty where they see none."""
    members, path, text = CASES[name]
    store = ImageStore(tmp_path / "images")
    [image] = await store.load(archives.docker(tmp_path / "a.tar", BASE, layer(*members)), "")
    assert store.read_file(image, path).decode() == text
