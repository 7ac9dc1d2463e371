"""Garbage collection: what goes and what never does, and that a crash in the middle leaves the store whole."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.images.blobs import Blobs
from nodeagent.images.gc import Disk, GcPolicy, ImageGc, choose, wanted
from nodeagent.images.store import Image, ImageNotFound, ImageStore
from pinnace.clock import VirtualClock
from tests.support import archives
from tests.support.archives import layer
from tests.support.awaiting import eventually

BASE = layer(("etc/motd", "hello"))


def image(name: str, *layers: str) -> Image:
    return Image(name, (name,), {}, layers, tuple(10 for _ in layers))


def chosen(
    images: list[Image], need: int, *, in_use: set[str] | None = None, used: dict[str, float] | None = None
) -> list[str]:
    times = used or {}
    found = choose(images, need, in_use=in_use or set(), used=lambda item: times.get(item.id, 0.0), before=100.0)
    return [item.id for item in found]


@pytest.mark.parametrize(("available", "need"), [(160, 0), (150, 50), (151, 0), (0, 200), (200, 0)])
def test_thresholds(available: int, need: int) -> None:
    """Nothing below the high one, then down to the low one."""
    assert wanted(Disk(1000, available), GcPolicy(high=85, low=80)) == need


def test_the_longest_unused_go_first_until_it_is_enough() -> None:
    """In order of last use, and not more than are needed."""
    images = [image("a", "1"), image("b", "2"), image("c", "3")]
    assert chosen(images, 15, used={"a": 3.0, "b": 1.0, "c": 2.0}) == ["b", "c"]


def test_used_and_young_images_stay() -> None:
    """Whatever is needed."""
    images = [image("used", "1"), image("young", "2"), image("old", "3")]
    assert chosen(images, 1000, in_use={"used"}, used={"young": 101.0}) == ["old"]


def test_a_shared_layer_frees_nothing_until_the_last_image_goes() -> None:
    """Two of one base: their own layers count, the base with the second."""
    images = [image("a", "base", "1"), image("b", "base", "2")]
    assert chosen(images, 10) == ["a"]
    assert chosen(images, 11) == ["a", "b"]
    assert chosen([*images, image("c", "base", "3")], 30, in_use={"c"}) == ["a", "b"]


@given(st.sets(st.integers(0, 9)), st.integers(0, 200), st.lists(st.floats(0, 200), min_size=10, max_size=10))
def test_no_choice_takes_what_is_in_use_or_young(in_use: set[int], need: int, times: list[float]) -> None:
    """Whatever the sizes, times and need."""
    images = [image(str(number), str(number % 4), f"own{number}") for number in range(10)]
    kept = {str(number) for number in in_use} | {str(number) for number, time in enumerate(times) if time > 100.0}
    found = chosen(images, need, in_use={str(n) for n in in_use}, used={str(n): time for n, time in enumerate(times)})
    assert not kept & set(found)


class Place:
    """A store with a disk that is as full as the test says."""

    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock()
        self.store = ImageStore(folder / "images", self.clock)
        self.blobs = Blobs(self.store.partial, self.clock)
        self.in_use: set[str] = set()
        self.disk = Disk(1_000_000, 900_000)
        self.gc = ImageGc(
            self.store, self.blobs, self.clock, policy=GcPolicy(), in_use=lambda: self.in_use, disk=lambda: self.disk
        )  # fmt: skip

    async def load(self, folder: Path, tag: str, *layers: bytes) -> Image:
        [found] = await self.store.load(archives.docker(folder / "image.tar", *layers, tag=tag), "")
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.root
async def test_a_full_disk_takes_unused_images_and_their_layers(place: Place, tmp_path: Path) -> None:
    """The shared layer stays with the image that is in use; below the threshold nothing goes."""
    kept = await place.load(tmp_path, "kept:1", BASE)
    gone = await place.load(tmp_path, "gone:1", BASE, layer(("big", "x" * 5000)))
    place.in_use = {kept.id}
    await place.clock.advance(1000.0)
    assert await place.gc.collect() == 0
    place.disk = Disk(1_000_000, 1000)
    assert await place.gc.collect() == 5000
    assert place.store.all() == [kept]
    assert [path.name for path in place.store._layers.iterdir()] == [kept.layers[0][7:31]]
    with pytest.raises(ImageNotFound):
        place.store.find(gone.id)


@pytest.mark.root
async def test_what_was_used_a_moment_ago_stays(place: Place, tmp_path: Path) -> None:
    """A pod may be about to start with it; its last use is known after a restart too."""
    await place.load(tmp_path, "a:1", BASE)
    await place.clock.advance(1000.0)
    place.store.use("a:1")
    place.disk = Disk(1_000_000, 0)
    assert await place.gc.collect() == 0
    again = ImageStore(tmp_path / "images", place.clock)
    assert again.used(again.find("a:1")) == place.clock.now()
    await place.clock.advance(1000.0)
    assert await place.gc.collect(target_free=10) > 0


@pytest.mark.root
async def test_prune_takes_the_nameless_or_all(place: Place, tmp_path: Path) -> None:
    """Never one in use, however it is asked."""
    old = await place.load(tmp_path, "a:1", BASE)
    new = await place.load(tmp_path, "a:1", layer(("new", "x")))
    used = await place.load(tmp_path, "b:1", layer(("used", "x")))
    place.in_use = {used.id}
    assert [item.id for item in (await place.gc.prune(everything=False))[0]] == [old.id]
    assert [item.id for item in (await place.gc.prune(everything=True))[0]] == [new.id]
    assert place.store.all() == [used]


@pytest.mark.root
async def test_old_parts_of_downloads_go(place: Place) -> None:
    """After a day; on a full disk sooner."""
    part = place.store.partial / ("0" * 64)
    part.write_bytes(b"x" * 100)
    now = part.stat().st_mtime
    await place.clock.advance(max(0.0, now - place.clock.now()) + 3600.0)
    assert await place.gc.collect() == 0
    place.disk = Disk(1_000_000, 0)
    assert await place.gc.collect() == 100


@pytest.mark.root
async def test_removal_cut_off_anywhere_leaves_the_store_whole(place: Place, tmp_path: Path) -> None:
    """As kill -9 between any two steps of it: every image that is listed afterwards has all its layers, and nothing else
    is there."""
    kept = await place.load(tmp_path, "kept:1", BASE)
    await place.load(tmp_path, "gone:1", BASE, layer(("a", "1")), layer(("b", "2")))
    before = tmp_path / "before"
    shutil.copytree(tmp_path / "images", before, symlinks=True)
    for step in range(4):
        folder = tmp_path / f"step{step}"
        shutil.copytree(before, folder, symlinks=True)
        store = ImageStore(folder, place.clock)
        gone = store.find("gone:1")
        # Its steps, one more each time: the record, then one layer after the other out of its place.
        if step:
            store.forget([gone.id])
        for path in [store._tree.path(item) for item in gone.layers[1:]][: max(step - 1, 0)]:
            path.rename(store.incoming / path.name)
        again = ImageStore(folder, place.clock)
        assert [item.references for item in again.all()] == ([gone.references] if not step else []) + [kept.references]
        layers = {digest[7:31] for item in again.all() for digest in item.layers}
        assert {path.name for path in again._layers.iterdir()} == layers
        assert not list(again.incoming.iterdir())
        await again.clean()
        assert not list((folder / "outgoing").iterdir())


async def test_what_an_earlier_agent_left_is_deleted_once_the_agent_runs(place: Place, tmp_path: Path) -> None:
    """The start does not wait for it, nor does the event loop; an agent that is killed meanwhile leaves it to the next."""
    left = place.store.incoming / "tmp1/layer"
    left.mkdir(parents=True)
    (left / "file").touch()
    for _ in range(2):
        started = ImageStore(tmp_path / "images", place.clock)
        assert [path.name for path in started.folder.glob("outgoing/*/incoming/tmp1/layer/*")] == ["file"]
    assert not list(started.incoming.iterdir())
    policy, blobs = GcPolicy(), Blobs(started.partial, place.clock)
    gc = ImageGc(started, blobs, place.clock, policy=policy, in_use=set, disk=lambda: place.disk)
    collection = asyncio.ensure_future(gc.run())
    await eventually(lambda: not list(started.folder.glob("outgoing/*")))
    collection.cancel()
    await asyncio.gather(collection, return_exceptions=True)


@pytest.mark.root
async def test_an_image_whose_layer_was_lost_is_forgotten(place: Place, tmp_path: Path) -> None:
    """As after a disk that lied: it would fail each container that starts with it."""
    found = await place.load(tmp_path, "a:1", BASE)
    shutil.rmtree(place.store._tree.path(found.layers[0]))
    assert ImageStore(tmp_path / "images", place.clock).all() == []


@pytest.mark.root
async def test_layers_that_are_coming_are_not_swept(place: Place, tmp_path: Path) -> None:
    """Those of a pull or load that is under way belong to no image yet."""
    found = await place.load(tmp_path, "a:1", BASE)
    with place.store.hold(found.layers):
        place.store.forget([found.id])
        assert await place.store.sweep() == 0
        assert place.store.lacking(found.layers) == []
    assert await place.store.sweep() > 0


@pytest.mark.root
async def test_a_name_goes_and_the_image_with_its_last(place: Place, tmp_path: Path) -> None:
    """As `docker rmi` does."""
    await place.load(tmp_path, "a:1", BASE)
    await place.load(tmp_path, "b:1", BASE)
    assert place.store.untag("a:1") is False
    assert place.store.find("b:1").references == ("docker.io/library/b:1",)
    assert place.store.untag("b:1") is True
    assert place.store.all() == []


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff torn"])
def test_a_damaged_record_costs_its_image_alone(tmp_path: Path, content: bytes) -> None:
    """After a power failure: the agent starts, and the image is pulled or loaded again."""
    store = ImageStore(tmp_path / "images")
    (tmp_path / "images/images").mkdir(parents=True, exist_ok=True)
    (tmp_path / "images/images/abc.json").write_bytes(content)
    assert ImageStore(tmp_path / "images").all() == store.all() == []
