"""An image's config is kept in its own bytes, so that the image can be given away under the same id."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodeagent.images.store import ImageNotFound, ImageStore
from pinnace.oci import BadImage
from pinnace.oci.manifest import digest_of
from tests.support import archives
from tests.support.archives import layer


async def test_a_config_is_kept_with_its_image(store: ImageStore, tmp_path: Path) -> None:
    """Over a restart, under every name, until the image is removed."""
    path = archives.oci(tmp_path / "a.tar", layer(("file", "x")), name="app:1")
    (image,) = await store.load(path, "")
    assert digest_of(store.document(image)) == image.id
    again = ImageStore(store.folder)
    assert digest_of(again.document(again.find("app:1"))) == image.id
    again.untag("app:1")
    with pytest.raises(ImageNotFound):
        again.find("app:1")
    assert not list((store.folder / "images").iterdir())


async def test_a_config_without_an_image_is_removed_at_start(store: ImageStore, tmp_path: Path) -> None:
    """As a crash between the two leaves it."""
    (image,) = await store.load(archives.oci(tmp_path / "a.tar", layer(("file", "x")), name="app:1"), "")
    stray = store.folder / "images" / f"{'0' * 64}.config"
    stray.write_bytes(b"{}")
    ImageStore(store.folder)
    assert not stray.exists()
    assert (store.folder / "images" / f"{image.id.removeprefix('sha256:')}.config").exists()


async def test_an_image_of_an_earlier_version_is_named_as_such(store: ImageStore, tmp_path: Path) -> None:
    """It runs; what it lacks for being given away is said, with what to do."""
    (image,) = await store.load(archives.oci(tmp_path / "a.tar", layer(("file", "x")), name="app:1"), "")
    (store.folder / "images" / f"{image.id.removeprefix('sha256:')}.config").unlink()
    again = ImageStore(store.folder)
    with pytest.raises(BadImage, match="load or pull it again"):
        again.document(again.find("app:1"))
