"""Builds that are imported later: with the first one, or for files of earlier ones."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nodeagent.building import deferred
from nodeagent.building.cachemounts import MAX_AGE, CacheMounts
from nodeagent.building.deferred import DeferredBuilds
from nodeagent.streams.frames import Handler
from pinnace.clock import VirtualClock

NOW = 10_000_000.0


class Parts:
    """Counts what is asked of it; `failures` is how often `clean` fails first."""

    def __init__(self, failures: int = 0) -> None:
        self.said: list[str] = []
        self.failures = failures

    def load(self) -> Callable[[], Parts]:
        self.said.append("loaded")
        return lambda: self

    async def clean(self) -> None:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise OSError("disk")
        self.said.append("cleaned")

    def handlers(self) -> dict[str, Handler]:
        async def handle(opening: Any, incoming: Any, outgoing: Any) -> None:
            self.said.append(opening)

        return dict.fromkeys(deferred.KINDS, handle)


class Place:
    def __init__(self, directory: Path, parts: Parts) -> None:
        self.clock = VirtualClock(NOW)
        self.files = directory / "builds"
        self.mounts = directory / "mounts"
        self.builds = DeferredBuilds(parts.load, (self.files,), CacheMounts(self.mounts, self.clock), self.clock)

    async def stream(self, kind: str) -> None:
        await self.builds.handlers()[kind](kind, None, None)  # type: ignore[arg-type]


async def test_the_first_stream_of_several_loads_and_cleans_once(tmp_path: Path) -> None:
    parts = Parts()
    place = Place(tmp_path, parts)
    assert parts.said == []
    await asyncio.gather(place.stream("buildImage"), place.stream("exportImage"))
    assert parts.said == ["loaded", "cleaned", "buildImage", "exportImage"]


async def test_what_cannot_be_removed_fails_no_build(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is in the log, and left to the next agent."""
    parts = Parts(failures=1)
    place = Place(tmp_path, parts)
    await place.stream("buildImage")
    assert parts.said == ["loaded", "buildImage"]
    assert "builds_not_cleaned error=disk" in caplog.text


@pytest.mark.parametrize(("left", "said"), [(True, ["loaded", "cleaned"]), (False, [])])
async def test_files_of_earlier_builds_are_removed_at_the_start(tmp_path: Path, left: bool, said: list[str]) -> None:
    """An agent that finds none loads nothing."""
    parts = Parts()
    place = Place(tmp_path, parts)
    if left:
        (place.files / "b1").mkdir(parents=True)
    running = asyncio.ensure_future(place.builds.run())
    await place.clock.advance(1)
    running.cancel()
    assert parts.said == said


@pytest.mark.root
async def test_cache_mounts_that_nothing_uses_are_removed_without_a_build(tmp_path: Path) -> None:
    """Days later, while the agent runs; one that was used since stays."""
    place = Place(tmp_path, Parts())
    old, recent = place.mounts / "abc-0/used", place.mounts / "def-0/used"
    for path, age in ((old, MAX_AGE - 60), (recent, 0.0)):
        (path.parent / "data").mkdir(parents=True)
        path.touch()
        os.utime(path, (NOW - age, NOW - age))
    running = asyncio.ensure_future(place.builds.run())
    async with asyncio.timeout(20):
        while old.exists():
            await place.clock.advance(deferred.TRIM_EVERY)
            # The removal is a thread's.
            await asyncio.sleep(0.01)
    running.cancel()
    assert recent.exists()
    assert place.clock.now() >= NOW + 60
