"""Statistics of nodes: asked of their agents over the streams that these have open, within a deadline.

Nothing is measured unless a client asks. Answers with rates are shared: however many clients ask, a node gets at most one
question in `KEPT` seconds. The last answer of each node stays in memory, some 300 bytes for a container.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from controlplane.rest.streams.interface import StreamRouter
from pinnace import usage
from pinnace.api.v1 import streams_pb2
from pinnace.clock import Clock
from pinnace.errors import ApiError
from pinnace.usage import Sample

# Seconds for all nodes together, below the web listener's own deadline; and nodes asked at once.
WITHIN = 5.0
AT_ONCE = 50
# Seconds that an answer with rates is used again, and so is the fact that there was none.
KEPT = 5.0
# The longest time between two answers in seconds over which a rate is averaged, and the most by which the node's clock may
# differ about it from this process' monotonic one.
LONGEST, DIFFERENCE = 60.0, 0.5

NodeStats = streams_pb2.NodeStats


async def ask_one(router: StreamRouter, node: str, *, window: int = 0) -> NodeStats | None:
    """Statistics of a node, with rates over `window` milliseconds; None for a node that is not connected or refuses."""
    opening = streams_pb2.OpenStream(node=node, stats=streams_pb2.StatsOptions(windowMillis=window))
    found: NodeStats | None = None
    try:
        async for frame in router.client(node, opening, None):
            if frame.WhichOneof("frame") == "stats":
                found = frame.stats
    except ApiError:
        pass
    return found


async def ask(router: StreamRouter, nodes: Iterable[str], *, within: float = WITHIN) -> dict[str, NodeStats | None]:
    """Statistics by node, without rates; None for one that did not answer in time."""
    slots = asyncio.Semaphore(AT_ONCE)
    found: dict[str, NodeStats | None] = dict.fromkeys(nodes)

    async def one(node: str) -> None:
        async with slots:
            found[node] = await ask_one(router, node)

    try:
        async with asyncio.timeout(within):
            await asyncio.gather(*(one(node) for node in found))
    except TimeoutError:
        pass
    return found


@dataclass(slots=True)
class _Entry:
    """The last answer of a node. `asked` and `answered` in monotonic seconds: of the last question, and of `sample`."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    asked: float = 0.0
    answered: float = 0.0
    sample: Sample | None = None
    # Whether the last question had an answer.
    current: bool = False


class Statistics:
    """Samples of nodes, shared by all clients."""

    def __init__(self, router: StreamRouter, clock: Clock, *, within: float = WITHIN) -> None:
        self._router = router
        self._clock = clock
        self._within = within
        self._entries: dict[str, _Entry] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def of(self, nodes: Iterable[str]) -> dict[str, Sample]:
        """Samples that are at most KEPT seconds old, by node; nodes that do not answer in time are left out."""
        self._forget()
        found: dict[str, Sample] = {}

        async def one(node: str) -> None:
            sample = await self._current(node)
            if sample is not None:
                found[node] = sample

        try:
            # A little longer than one question, so that the absence of an answer is kept too.
            async with asyncio.timeout(self._within * 1.1):
                await asyncio.gather(*(one(node) for node in set(nodes)))
        except TimeoutError:
            pass
        return dict(found)

    async def _current(self, node: str) -> Sample | None:
        entry = self._entries.setdefault(node, _Entry())
        # Clients that ask meanwhile wait for the same answer.
        async with entry.lock:
            if not entry.asked or self._clock.monotonic() - entry.asked >= KEPT:
                async with self._slots:
                    await self._renew(node, entry)
            return entry.sample if entry.current else None

    async def _renew(self, node: str, entry: _Entry) -> None:
        stats: NodeStats | None = None
        try:
            async with asyncio.timeout(self._within):
                stats = await ask_one(self._router, node, window=usage.WINDOW)
        except TimeoutError:
            pass
        now = self._clock.monotonic()
        entry.asked, entry.current = now, stats is not None
        if stats is not None:
            entry.sample = _sample(entry.sample, stats, now - entry.answered)
            entry.answered = now

    def _forget(self) -> None:
        """Drop what no rate can be taken from any more, such as the answers of nodes that are gone."""
        now = self._clock.monotonic()
        self._entries = {
            node: entry for node, entry in self._entries.items() if entry.lock.locked() or now - entry.asked < LONGEST
        }


def _sample(before: Sample | None, stats: NodeStats, passed: float) -> Sample:
    """A new answer. Its rates are over the time since the one before, `passed` seconds, where that is known: the longer
    the steadier; else over the agent's own window."""
    window = usage.WINDOW * 1_000_000
    if before is not None and _comparable(before.stats, stats, passed):
        usage.add_rates(before.stats, stats)
        window = stats.timeNanos - before.stats.timeNanos
    return Sample(stats, window, {(pod.namespace, pod.name): pod for pod in stats.pods})


def _comparable(first: NodeStats, second: NodeStats, passed: float) -> bool:
    """Not where the node's clock was set, nor where its counters began anew."""
    seconds = (second.timeNanos - first.timeNanos) / 1e9
    return 0 < seconds <= LONGEST and abs(seconds - passed) <= DIFFERENCE and second.cpuNanos >= first.cpuNanos
