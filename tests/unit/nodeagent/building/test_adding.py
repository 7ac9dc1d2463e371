"""Archives of ADD: what is one, what becomes of it, and that a hostile one writes nothing outside."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import zstandard

from nodeagent.building import adding
from nodeagent.building.errors import BuildError
from nodeagent.building.filesteps import Batch
from nodeagent.building.pieces import Piece
from nodeagent.images.store import ImageStore
from tests.support.archives import layer, member

pytestmark = pytest.mark.root
PACKERS = {"plain": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.compress}


@pytest.fixture
async def images(tmp_path: Path) -> AsyncIterator[ImageStore]:
    store = ImageStore(tmp_path / "images")
    yield store
    store.close()


@contextmanager
def opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def unpacked(images: ImageStore, context: Path, scratch: Path, *names: str) -> list[tuple[bool, list[str]]]:
    """For each batch, whether it is an archive, and what its root has."""
    with opened(context) as root, ExitStack() as stack:
        batch = Batch(root, [Piece(name) for name in names], foreign=True, unpack=True)
        found = await adding.unpacked(stack, [batch], scratch, images)
        return [(item.archive, sorted(os.listdir(item.root))) for item in found]


@pytest.mark.parametrize("form", PACKERS)
async def test_archives_are_unpacked_whatever_their_compression(images: ImageStore, tmp_path: Path, form: str) -> None:
    """And what is no archive is copied as it is."""
    context = tmp_path / "context"
    (context / "directory").mkdir(parents=True)
    (context / "archive").write_bytes(PACKERS[form](layer(("x/y", "content"))))
    (context / "text").write_bytes(PACKERS[form](b"just text, and more of it" * 100))
    (context / "short").write_bytes(PACKERS[form](b"short"))
    os.mkfifo(context / "pipe")
    names = ("archive", "text", "short", "directory", "pipe", "missing")
    found = await unpacked(images, context, tmp_path / "s", *names)
    assert found[0] == (True, ["x"])
    assert (tmp_path / "s/0/x/y").read_text() == "content"
    assert [archive for archive, _ in found[1:]] == [False] * 5


async def test_a_hostile_archive_is_an_error_and_writes_nothing_outside(images: ImageStore, tmp_path: Path) -> None:
    """Its error names the archive; one that is cut short is an error too."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "up").write_bytes(layer(("../../escaped", "x")))
    (context / "link").write_bytes(layer(member("l", tarfile.SYMTYPE, str(tmp_path)), ("l/escaped", "x")))
    for form, pack in PACKERS.items():
        # More than a block of bzip2, which is read as a whole.
        packed = pack(layer(("a", os.urandom(1_500_000).hex())))
        (context / f"cut.{form}").write_bytes(packed[: len(packed) // 2])
    for number, name in enumerate(["up", "link", *(f"cut.{form}" for form in PACKERS)]):
        with pytest.raises(BuildError, match=name):
            await unpacked(images, context, tmp_path / f"s{number}", name)
    assert not list(tmp_path.rglob("escaped"))


async def test_names_of_whiteouts_in_an_archive_are_names(images: ImageStore, tmp_path: Path) -> None:
    """It is no layer: nothing is deleted. (Such a file is refused when the layer is made.)"""
    context = tmp_path / "context"
    context.mkdir()
    (context / "archive").write_bytes(layer(("x", "1"), (".wh.x", "2")))
    assert await unpacked(images, context, tmp_path / "s", "archive") == [(True, [".wh.x", "x"])]
