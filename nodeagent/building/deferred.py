"""Image builds, imported with the first one: their code takes 2 MB, and most agents build nothing.

An agent that finds files of earlier builds imports it at its start, to remove what a killed build has left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

from nodeagent.building.cachemounts import CacheMounts
from nodeagent.node import threads
from nodeagent.streams.frames import Handler
from pinnace.clock import Clock

log = logging.getLogger("pinnace.build")
# Kinds of streams that builds serve; see streams.proto.
KINDS = ("buildImage", "exportImage")
# Seconds between two removals of old cache mounts.
TRIM_EVERY = 6 * 3600.0


class Parts(Protocol):
    """See BuildParts."""

    async def clean(self) -> None: ...
    def handlers(self) -> dict[str, Handler]: ...


class DeferredBuilds:
    """`load` imports the parts, in a thread; it returns what makes them. Files of builds are in the directories `files`."""

    def __init__(
        self, load: Callable[[], Callable[[], Parts]], files: tuple[Path, ...], mounts: CacheMounts, clock: Clock
    ) -> None:  # fmt: skip
        self._load = load
        self._files = files
        self._mounts = mounts
        self._clock = clock
        self._parts: Parts | None = None
        self._loading = asyncio.Lock()

    async def run(self) -> None:
        """Remove what builds of an earlier agent have left, and from time to time unused cache mounts. Until cancelled."""
        if any(next(directory.glob("*"), None) is not None for directory in self._files):
            await self._loaded()
        while True:
            await self._mounts.trim()
            await self._clock.sleep(TRIM_EVERY)

    def handlers(self) -> dict[str, Handler]:
        def handler(kind: str) -> Handler:
            async def handle(opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
                parts = await self._loaded()
                await parts.handlers()[kind](opening, incoming, outgoing)

            return handle

        return {kind: handler(kind) for kind in KINDS}

    async def _loaded(self) -> Parts:
        """After what an earlier agent's builds have left was removed, as far as possible."""
        async with self._loading:
            if self._parts is None:
                parts = (await threads.builds.run(self._load))()
                try:
                    await parts.clean()
                except OSError as error:
                    # What is left of other builds is no reason to fail this one.
                    log.error("builds_not_cleaned error=%s", error)
                self._parts = parts
            return self._parts
