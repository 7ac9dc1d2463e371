"""Cache mounts: which directory a build gets, and which are removed."""

from __future__ import annotations

import asyncio
import os
import stat
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from nodeagent.building import cachemounts
from nodeagent.building.cachemounts import CacheMounts
from nodeagent.building.errors import BuildError
from nodeagent.building.mounts import RunMount
from pinnace.clock import VirtualClock

pytestmark = pytest.mark.root


def mount(**members: Any) -> RunMount:
    return RunMount(**{"kind": "cache", "id": "x", "target": "/x", "read_only": False, **members})


@pytest.fixture
def caches(tmp_path: Path) -> CacheMounts:
    return CacheMounts(tmp_path / "mounts", VirtualClock(10_000_000.0))


async def lent(caches: CacheMounts, stack: AsyncExitStack, tmp_path: Path, **members: Any) -> Path:
    """The directory that a build gets, until `stack` ends."""
    return Path((await caches.lend(stack, mount(**members), (), tmp_path / "scratch")).source)


async def test_a_cache_is_found_again_by_its_id(caches: CacheMounts, tmp_path: Path) -> None:
    """And another id, owner or mode is another cache."""
    async with AsyncExitStack() as stack:
        first = await lent(caches, stack, tmp_path)
        (first / "kept").touch()
    async with AsyncExitStack() as stack:
        assert (await lent(caches, stack, tmp_path) / "kept").exists()
        others = [await lent(caches, stack, tmp_path, **more) for more in ({"id": "y"}, {"uid": 5}, {"mode": 0o700, "gid": 6})]
        assert not any((other / "kept").exists() for other in others)
        status = [os.stat(other) for other in others]
        assert [(item.st_uid, item.st_gid, stat.S_IMODE(item.st_mode)) for item in status] == [
            (0, 0, 0o755),
            (5, 0, 0o755),
            (0, 6, 0o700),
        ]


async def test_a_shared_cache_is_used_by_two_builds_at_once_and_a_private_one_is_not(
    caches: CacheMounts, tmp_path: Path
) -> None:
    """The second build gets a directory of its own, which is found again when both are free."""
    async with AsyncExitStack() as stack:
        assert await lent(caches, stack, tmp_path) == await lent(caches, stack, tmp_path)
        first = await lent(caches, stack, tmp_path, id="p", sharing="private")
        second = await lent(caches, stack, tmp_path, id="p", sharing="private")
        assert first != second
    async with AsyncExitStack() as stack:
        assert await lent(caches, stack, tmp_path, id="p", sharing="private") == first


async def test_a_locked_cache_is_waited_for(caches: CacheMounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the other build has ended; not for ever."""
    async with AsyncExitStack() as stack:
        async with AsyncExitStack() as other:
            first = await lent(caches, other, tmp_path, sharing="locked")
            waiting = asyncio.ensure_future(lent(caches, stack, tmp_path, sharing="locked"))
            await asyncio.sleep(0.05)
            assert not waiting.done()
        assert await asyncio.wait_for(waiting, 5) == first
        monkeypatch.setattr(cachemounts, "LOCK_WITHIN", 0.01)
        with pytest.raises(BuildError, match="was in use"):
            await lent(caches, stack, tmp_path, sharing="locked")


async def test_a_new_cache_begins_with_what_it_is_from(caches: CacheMounts, tmp_path: Path) -> None:
    """The directory of a stage or image, with its owners."""
    layer = tmp_path / "layer"
    (layer / "deps/sub").mkdir(parents=True)
    os.chown(layer / "deps/sub", 7, 8)
    async with AsyncExitStack() as stack:
        found = await caches.lend(stack, mount(origin="base", source="/deps"), (str(layer),), tmp_path / "scratch")
        assert (os.stat(f"{found.source}/sub").st_uid, found.sub_path) == (7, "")


async def test_old_and_large_caches_are_removed_and_used_ones_are_not(
    caches: CacheMounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The least recently used first."""
    paths = {}
    for age, name in enumerate(("old", "large", "middle", "new")):
        async with AsyncExitStack() as stack:
            paths[name] = await lent(caches, stack, tmp_path, id=name)
            (paths[name] / "data").write_bytes(bytes(8192))
        os.utime(paths[name].parent / "used", (10_000_000 - 1000 * (4 - age),) * 2)
    os.utime(paths["old"].parent / "used", (10_000_000 - cachemounts.MAX_AGE - 1,) * 2)
    monkeypatch.setattr(cachemounts, "MAX_BYTES", 20_000)
    async with AsyncExitStack() as stack:
        assert await caches.trim() >= 8192
        assert [name for name, path in paths.items() if path.exists()] == ["middle", "new"]
        await lent(caches, stack, tmp_path, id="new")
        assert await caches.clear() >= 8192
        assert [name for name, path in paths.items() if path.exists()] == ["new"]
