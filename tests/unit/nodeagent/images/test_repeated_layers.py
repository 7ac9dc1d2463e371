"""An image that has a layer several times is what its layers make, applied one after the other."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodeagent.building import view
from nodeagent.images.store import ImageStore
from nodeagent.linux import syscalls
from nodeagent.volumes import imagevolume
from tests.support import archives
from tests.support.archives import layer

pytestmark = pytest.mark.root
ADDS = layer(("x", "here"))
REMOVES = layer((".wh.x", ""))
EMPTY = layer()


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def shown(directories: Sequence[str], scratch: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and content of everything below the merged directories, by path."""
    found: dict[str, tuple[int, bytes]] = {}
    with view.merged(directories, scratch) as root:
        top = f"/proc/self/fd/{root}"
        for folder, names, files in os.walk(top):
            for name in (*names, *files):
                path = f"{folder}/{name}"
                if not os.path.lexists(path):
                    # overlayfs lists the whiteouts of a directory that only one layer has, and finds nothing there.
                    continue
                mode = os.lstat(path).st_mode
                content = Path(path).read_bytes() if stat.S_ISREG(mode) else b""
                found[path.removeprefix(top)] = mode, content
    return found


@pytest.mark.parametrize(
    ("layers", "there"),
    [
        ((ADDS, REMOVES, ADDS), True), ((ADDS, REMOVES, ADDS, REMOVES), False), ((ADDS, ADDS), True),
        ((ADDS, EMPTY, EMPTY), True), ((EMPTY, ADDS, EMPTY, REMOVES, EMPTY), False),
    ],
)  # fmt: skip
async def test_a_repeated_layer_applies_where_it_is_uppermost(
    store: ImageStore, tmp_path: Path, layers: tuple[bytes, ...], there: bool
) -> None:
    """In a container's root (an overlay), in an image volume, and for whoever reads one file of the image."""
    [image] = await store.load(archives.docker(tmp_path / "a.tar", *layers), "")
    assert ("/x" in shown(store.lower_dirs(image), tmp_path / "view")) == there
    assert store.read_file(image, "x") == (b"here" if there else b"")
    imagevolume.mount(tmp_path / "volume", store.lower_dirs(image))
    try:
        assert (tmp_path / "volume/x").exists() == there
    finally:
        syscalls.umount(tmp_path / "volume", syscalls.MNT_DETACH)
    assert image.size == sum(len("here") for item in set(layers) if item == ADDS)


async def test_an_archive_with_a_repeated_layer_keeps_its_order_over_a_restart(store: ImageStore, tmp_path: Path) -> None:
    """The record has every occurrence, as the config does; the disk has each layer once."""
    [image] = await store.load(archives.docker(tmp_path / "a.tar", ADDS, REMOVES, ADDS), "")
    again = ImageStore(tmp_path / "images")
    assert again.find("demo:1") == image
    assert image.layers[0] == image.layers[2]
    assert len(list((tmp_path / "images/layers").iterdir())) == 2
    assert again.total_bytes() == image.size


NAMES = st.sampled_from(["a", "b", "a/a", "a/b", "b/a", "a/a/a"])


@st.composite
def entries(draw: st.DrawFn) -> list[tuple[str, str]]:
    """A layer: what it has at which path. Parents come first, and nothing lies below what is no directory."""
    found: dict[str, str] = {}
    for path in sorted(set(draw(st.lists(NAMES, max_size=4)))):
        parts = path.split("/")
        if {found.get("/".join(parts[:depth]), "folder") for depth in range(1, len(parts))} <= {"folder", "opaque"}:
            found[path] = draw(st.sampled_from(["file", "folder", "opaque", "removed"]))
    return list(found.items())


def write(folder: Path, number: int, items: list[tuple[str, str]]) -> str:
    """A layer as unpacked: overlayfs' own whiteouts and opaque directories."""
    folder.mkdir()
    for path, kind in items:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if kind == "file":
            target.write_text(f"{number} {path}")
        elif kind == "removed":
            os.mknod(target, stat.S_IFCHR | 0o600, 0)
        else:
            target.mkdir(mode=0o700 + number)
            if kind == "opaque":
                os.setxattr(target, "trusted.overlay.opaque", b"y")
    return str(folder)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=st.lists(entries(), min_size=1, max_size=3), data=st.data())
def test_the_uppermost_occurrence_is_as_good_as_a_copy_for_each(
    tmp_path: Path, made: list[list[tuple[str, str]]], data: st.DataObject
) -> None:
    """The kernel merges copies of every occurrence, and what the store names: both show the same tree."""
    order = data.draw(st.lists(st.integers(0, len(made) - 1), min_size=2, max_size=6))
    scratch = Path(tempfile.mkdtemp(dir=tmp_path))
    store = ImageStore(scratch / "images")
    digests = [f"sha256:{number:024x}{'0' * 40}" for number in range(len(made))]
    for number, items in enumerate(made):
        write(scratch / f"images/layers/{number:024x}", number, items)
    copies = [write(scratch / f"copy{at}", number, made[number]) for at, number in enumerate(order)]
    once = store.layer_dirs([digests[number] for number in order])
    assert len(once) == len(set(order))
    assert shown(once, scratch / "one") == shown(copies[::-1], scratch / "two")
    shutil.rmtree(scratch)
