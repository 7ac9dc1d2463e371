"""Threads for blocking work that no pod causes, or that is deep in a part: a bounded number for each kind, as in `pools`.

asyncio's default executor (`to_thread`) is used nowhere in the agent: it has a handful of threads for everything, so that six
calls which hang in one part stop all others. Each event loop has its own threads.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from nodeagent.node.pools import Pool

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """A pool of each event loop's own; see `Pool`."""

    def __init__(self, name: str, threads: int) -> None:
        self._name, self._threads = name, threads
        self._pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Pool] = weakref.WeakKeyDictionary()

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._pool().run(work, *args, **kwargs)

    async def run_within(self, seconds: float, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._pool().run_within(seconds, work, *args, **kwargs)

    def _pool(self) -> Pool:
        loop = asyncio.get_running_loop()
        if loop not in self._pools:
            self._pools[loop] = Pool(self._name, self._threads)
        return self._pools[loop]


# What builds read, copy and delete: as long as it takes, and their user waits for it.
builds = Threads("builds", 8)
# Archives, and the layers of images.
images = Threads("images", 4)
# What the runtimes read and write of a bundle, beyond the launcher; within RUNTIME_WITHIN seconds.
runtime = Threads("runtime", 8)
RUNTIME_WITHIN = 60.0
# Sockets in the network namespaces of pods.
streams = Threads("streams", 8)
# Packets of pods, read for a moment at a time.
captures = Threads("captures", 4)
# Packets that are followed through the node.
traces = Threads("traces", 4)
# Lists of tracked connections, and the ends of some: of Services, and of host ports.
connections = Threads("connections", 2)
# Names that manifests have, for the node's resolver.
names = Threads("names", 16)
# The agent's own files, and its own requests to the control plane.
control = Threads("control", 2)
