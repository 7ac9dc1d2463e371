"""Streams about the node as a whole: that its agent answers, the pods that it has, and how its DNS is used. The API's proxy of
nodes shows them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from nodeagent.pods.manager import PodManager
from nodeagent.streams.frames import Frame, Handler


class NodeStreams:
    def __init__(self, pods: PodManager, dns_metrics: Callable[[], Awaitable[str]]) -> None:
        self._pods, self._dns = pods, dns_metrics

    def handlers(self) -> dict[str, Handler]:
        return {"listPods": self._list_pods, "health": self._health, "dnsMetrics": self._dns_metrics}

    async def _list_pods(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        for worker in list(self._pods.workers.values()):
            await outgoing.put(Frame(pod=worker.current()))

    async def _dns_metrics(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        if text := await self._dns():
            await outgoing.put(Frame(stdout=text.encode()))

    async def _health(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        """An agent whose event loop does not run does not answer."""
