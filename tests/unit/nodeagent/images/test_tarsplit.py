"""A layer that was unpacked can be given away again as the tar that it was."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nodeagent.images.layers import Layers, erase
from nodeagent.images.unpack import MAX_DEPTH
from pinnace.oci import BadImage
from pinnace.oci.archive import Layer
from tests.support.archives import layer, member

pytestmark = pytest.mark.root


def written(format_: int, end: bytes = b"") -> bytes:
    """All kinds of members in one of tarfile's formats."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format_) as tar:
        tar.addfile(member("folder", tarfile.DIRTYPE))
        for name, size in (
            ("folder/empty", 0),
            ("folder/small", 5),
            ("folder/" + "long" * 60, 513),
            ("big", 700_000),
            ("even", 1024),
        ):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname = size, 1_700_000_000, "someone"
            tar.addfile(info, io.BytesIO(bytes(range(256)) * (size // 256 + 1)))
        tar.addfile(member("link", tarfile.SYMTYPE, "x" * 150))
        tar.addfile(member("hard", tarfile.LNKTYPE, "folder/small"))
        tar.addfile(member("folder/.wh.gone", tarfile.REGTYPE))
        tar.addfile(member("device", tarfile.CHRTYPE))
    return out.getvalue() + end


TARS: dict[str, Callable[[], bytes]] = {
    "pax": lambda: written(tarfile.PAX_FORMAT),
    "gnu": lambda: written(tarfile.GNU_FORMAT),
    "zeros at the end": lambda: written(tarfile.PAX_FORMAT, bytes(100_000)),
    "something at the end": lambda: written(tarfile.PAX_FORMAT, b"not a tar any more"),
    "names that are not clean": lambda: layer(("./a//b", "b"), ("./c", "c" * 2000)),
    "no file": lambda: layer(member("a", tarfile.DIRTYPE)),
    "a file that a whiteout hides": lambda: layer(("a", ""), ("b", "content")),
}
# What is there first is in no directory afterwards.
REPLACING: dict[str, Callable[[], bytes]] = {
    "a file twice": lambda: layer(("a", "first"), ("b", "kept"), ("a", "second")),
    "a file twice, as long": lambda: layer(("a", "one"), ("a", "two")),
    "a file and its whiteout": lambda: layer(("d/a", "first"), ("d/.wh.a", "")),
    "a file for a directory": lambda: layer(("d/a", "first"), ("d/b", "other"), ("d", "a file")),
    "a link for a file": lambda: layer(("a", "first"), member("a", tarfile.SYMTYPE, "b"), ("b", "kept")),
    "a hard link for a file": lambda: layer(("a", "first"), ("b", "other"), member("a", tarfile.LNKTYPE, "b")),
    "a large file twice": lambda: layer(("a", "x" * 3_000_000), ("a", "y" * 2_000_000)),
}


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    for name in ("layers", "incoming"):
        (tmp_path / name).mkdir()
    return Layers(tmp_path / "layers", tmp_path / "incoming")


async def added(layers: Layers, data: bytes) -> str:
    diff_id = "sha256:" + hashlib.sha256(data).hexdigest()
    await layers.add(Layer(diff_id, len(data), lambda: io.BytesIO(gzip.compress(data))))
    return diff_id


@pytest.mark.parametrize("name", [*TARS, *REPLACING])
async def test_the_tar_is_made_again_to_the_byte(layers: Layers, tmp_path: Path, name: str) -> None:
    """Headers of any format, padding and what follows, and what later members replace; and its size is known before."""
    data = (TARS | REPLACING)[name]()
    size, chunks = layers.tar(await added(layers, data))
    assert size == len(data)
    assert b"".join(chunks) == data
    assert not list((tmp_path / "incoming").iterdir())


async def test_a_recipe_holds_no_content(layers: Layers, tmp_path: Path) -> None:
    """It is small beside the layer."""
    await added(layers, written(tarfile.PAX_FORMAT))
    [recipe] = (tmp_path / "recipes").iterdir()
    assert recipe.stat().st_size < 3000


async def test_a_layer_that_cannot_be_made_again_is_not_passed_off_as_itself(layers: Layers, tmp_path: Path) -> None:
    """Without its recipe a file that came twice has lost its first content; one that was changed on disk is noticed."""
    data = layer(("a", "first"), ("a", "second"))
    diff_id = await added(layers, data)
    [recipe] = (tmp_path / "recipes").iterdir()
    recipe.unlink()
    _, chunks = layers.tar(diff_id)
    assert b"".join(chunks) != data
    diff_id = await added(layers, layer(("b", "content")))
    (layers.path(diff_id) / "b").write_text("longer than it was")
    with pytest.raises(BadImage, match="not as it was"):
        b"".join(layers.tar(diff_id)[1])


async def test_a_layer_as_deep_as_may_be_is_like_any_other(layers: Layers, tmp_path: Path) -> None:
    """It is measured, replaced, given away and removed."""
    deep = "d/" * (MAX_DEPTH - 1)
    assert layers.size(await added(layers, layer((deep + "f", "x" * 700)))) == 700
    assert layers.size(await added(layers, layer((deep + "f", "x" * 700), ("d/.wh.d", "")))) == 0
    erase(layers.displace([]))
    assert not list((tmp_path / "incoming").iterdir())


async def test_recipes_go_with_their_layers(layers: Layers, tmp_path: Path) -> None:
    """And a layer that is refused leaves none."""
    await added(layers, layer(("a", "a")))
    layers.displace([])
    with pytest.raises(BadImage):
        await layers.add(Layer("sha256:" + "0" * 64, 0, lambda: io.BytesIO(layer(("a", "a")))))
    assert not list((tmp_path / "recipes").iterdir())
