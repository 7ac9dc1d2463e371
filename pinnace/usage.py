"""Usage of nodes and containers: rates from two samples of their counters, and sums. Pure.

Shared by agents, which sample themselves twice, by the API, which compares samples further apart, and by `kctl top`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pinnace.api.v1 import streams_pb2

# Milliseconds between an agent's two samples when a client waits for the answer.
WINDOW = 500


@dataclass(frozen=True, slots=True)
class Use:
    """Nanocores, and bytes of the working set."""

    cpu: int
    memory: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Statistics of a node with rates over `window` nanoseconds; `pods` by namespace and name."""

    stats: streams_pb2.NodeStats
    window: int
    pods: dict[tuple[str, str], streams_pb2.PodStats]


def of(stats: streams_pb2.NodeStats | streams_pb2.ContainerStats) -> Use:
    """Usage of a node or of one container."""
    return Use(stats.cpuNanoCores, stats.memoryWorkingSetBytes)


def total(uses: Iterable[Use]) -> Use:
    """Usage of several containers together."""
    found = list(uses)
    return Use(sum(use.cpu for use in found), sum(use.memory for use in found))


def add_rates(first: streams_pb2.NodeStats, second: streams_pb2.NodeStats) -> None:
    """Set the rates of `second`, of the node and of each container. The whole time of a container that started in between
    counts."""
    seconds = max(second.timeNanos - first.timeNanos, 1) / 1e9
    before = {(pod.uid, c.name, c.startedNanos): c.cpuNanos for pod in first.pods for c in pod.containers}
    second.cpuNanoCores = int(max(second.cpuNanos - first.cpuNanos, 0) / seconds)
    for pod in second.pods:
        for container in pod.containers:
            used = container.cpuNanos - before.get((pod.uid, container.name, container.startedNanos), 0)
            container.cpuNanoCores = int(max(used, 0) / seconds)
