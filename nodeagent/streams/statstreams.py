"""Streams of statistics: one frame, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from nodeagent.node.stats import Collector
from nodeagent.streams.frames import Frame, Handler


class StatStreams:
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def handlers(self) -> dict[str, Handler]:
        return {"stats": self._stats}

    async def _stats(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        await outgoing.put(Frame(stats=await self._collector.collect(opening.stats.windowMillis / 1000)))
