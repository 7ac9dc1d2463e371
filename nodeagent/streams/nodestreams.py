"""Streams about the node as a whole: that its agent answers, and the pods that it has. The API's proxy of nodes shows them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from nodeagent.pods.manager import PodManager
from nodeagent.streams.frames import Frame, Handler


class NodeStreams:
    def __init__(self, pods: PodManager) -> None:
        self._pods = pods

    def handlers(self) -> dict[str, Handler]:
        return {"listPods": self._list_pods, "health": self._health}

    async def _list_pods(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        for worker in list(self._pods.workers.values()):
            await outgoing.put(Frame(pod=worker.current()))

    async def _health(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        """An agent whose event loop does not run does not answer."""
