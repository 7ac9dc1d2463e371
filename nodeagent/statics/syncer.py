"""The loop that reads the manifest files and has the control plane make their mirror pods."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from nodeagent.pods.manager import PodManager
from pinnace.clock import Clock

if TYPE_CHECKING:
    from nodeagent.statics.files import StaticPods

log = logging.getLogger("pinnace.staticpods")
# Seconds between looks at the folder, and before the control plane is asked again for what it does not show yet.
LOOK_EVERY = 1.0
FIRST_RETRY, MAX_RETRY = 0.5, 30.0

# Shows these pods and no others; returns what was refused. Raises while there is no control plane.
Show = Callable[[Iterable[Any]], Awaitable[list[str]]]


class MirrorPodSyncer:
    def __init__(self, files: StaticPods | None, pods: PodManager, show: Show, clock: Clock) -> None:
        """Without `files` there are no static pods, and mirrors that an earlier agent left are taken away."""
        self._files = files
        self._pods = pods
        self._show = show
        self._clock = clock
        self._retry = FIRST_RETRY
        self._again_at = 0.0
        self._refused: list[str] = []

    async def run(self) -> None:
        """Until cancelled."""
        statics = self._pods.statics
        while True:
            statics.changed.clear()
            if self._files is not None and self._files.read():
                self._pods.want(self._files.pods())
                self._again_at = 0.0
            if statics.agree():
                self._retry = FIRST_RETRY
            elif self._clock.monotonic() >= self._again_at:
                await self._ask(list(statics.wanted.values()))
            idle = self._files is None and statics.agree()
            await self._clock.wait(statics.changed, None if idle else LOOK_EVERY)

    async def _ask(self, wanted: list[Any]) -> None:
        try:
            refused = await self._show(wanted)
        except Exception as error:
            # The pods run all the same.
            log.debug("mirrors_not_shown error=%s", error)
            refused = self._refused
        if refused != self._refused:
            for text in refused:
                log.warning("mirror_refused %s", text)
        self._refused = refused
        self._again_at = self._clock.monotonic() + self._retry
        self._retry = min(self._retry * 2, MAX_RETRY)
