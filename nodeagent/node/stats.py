"""Statistics of this node, its pods and their containers, when someone asks; nothing is measured meanwhile.

A node that was given a capacity of its own (a lab's nodes share one machine) is measured by the cgroup of its pods,
another one as the machine that it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nodeagent.eviction.usage import Disk, measure
from nodeagent.launcher import bundle as names
from nodeagent.node.pools import Pool
from nodeagent.pods.manager import PodManager
from nodeagent.runtime import cgroupstats
from nodeagent.runtime.cgroups import Cgroups
from nodeagent.runtime.cgroupstats import CgroupStats
from nodeagent.runtime.interface import Handle
from pinnace import usage
from pinnace.api.v1 import streams_pb2
from pinnace.clock import Clock
from pinnace.podresources import CPU, MEMORY

PROC = Path("/proc")
# Milliseconds that a rate may be measured over.
MAX_WINDOW = 5_000
# Seconds that a measured writable layer is good for: it is walked file by file.
FRESH = 30.0
_RECEIVE = ("receiveBytes", "receivePackets", "receiveErrors", "receiveDropped")
_TRANSMIT = ("transmitBytes", "transmitPackets", "transmitErrors", "transmitDropped")
# Seconds for one sample, or the sizes of all writable layers.
WITHIN = 60.0
_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Collector:
    def __init__(
        self, pods: PodManager, cgroups: Cgroups, clock: Clock, walks: Pool, *, node: str, capacity: Iterable[str]
    ) -> None:
        """`walks` are threads for it; `capacity` names the resources that this node was given its own of."""
        self._pods = pods
        self._cgroups = cgroups
        self._clock = clock
        self._walks = walks
        self._node = node
        self._own = frozenset(capacity)
        # Writable layers by bundle, and when they were measured.
        self._layers: dict[Path, tuple[float, Disk]] = {}

    async def collect(self, window: float) -> streams_pb2.NodeStats:
        """All of this node; with `window` seconds (at most MAX_WINDOW ms) between two samples, rates too."""
        first = await self._walks.run_within(WITHIN, self._sample, self._running(), {})
        if window <= 0:
            layers = await self._walks.run_within(WITHIN, self._measure, self._running())
            return await self._walks.run_within(WITHIN, self._sample, self._running(), layers)
        await self._clock.sleep(min(window, MAX_WINDOW / 1000))
        second = await self._walks.run_within(WITHIN, self._sample, self._running(), {})
        usage.add_rates(first, second)
        return second

    def _running(self) -> list[tuple[Any, bool, dict[str, Handle]]]:
        """Pods, whether they have a network of their own, and their running containers."""
        return [(w.pod, not w.pod.spec.hostNetwork, dict(w.handles)) for w in self._pods.workers.values() if w.handles]

    def _measure(self, running: list[tuple[Any, bool, dict[str, Handle]]]) -> dict[Path, Disk]:
        now = self._clock.monotonic()
        bundles = [handle.bundle for _, _, handles in running for handle in handles.values()]
        known = {path: found for path, found in self._layers.items() if path in bundles and now - found[0] < FRESH}
        self._layers = known | {path: (now, measure(Path(names.upper(path)))) for path in bundles if path not in known}
        return {path: disk for path, (_, disk) in self._layers.items()}

    def _sample(self, running: list[tuple[Any, bool, dict[str, Handle]]], layers: dict[Path, Disk]) -> streams_pb2.NodeStats:
        found = streams_pb2.NodeStats(node=self._node, timeNanos=int(self._clock.now() * 1e9))
        self._sample_node(found)
        for pod, networked, handles in running:
            item = found.pods.add(namespace=pod.metadata.namespace, name=pod.metadata.name, uid=pod.metadata.uid)
            for name, handle in handles.items():
                stats = cgroupstats.read(_cgroups_of(handle))
                item.containers.append(_container(name, handle, stats, layers.get(handle.bundle, Disk())))
            if networked:
                item.interfaces.extend(interfaces(_read(PROC / str(next(iter(handles.values())).pid) / "net/dev")))
        return found

    def _sample_node(self, found: streams_pb2.NodeStats) -> None:
        pods = cgroupstats.read(self._cgroups.folders(""))
        memory = cgroupstats.table(_read(PROC / "meminfo").replace(":", "").replace(" kB", ""))
        usage = (memory.get("MemTotal", 0) - memory.get("MemFree", 0)) << 10
        working_set = usage - (memory.get("Inactive(file)", 0) << 10)
        found.cpuNanos = pods.cpu_nanos if CPU in self._own else busy_nanos(_read(PROC / "stat"))
        found.memoryUsageBytes = pods.memory_usage if MEMORY in self._own else usage
        found.memoryWorkingSetBytes = pods.memory_working_set if MEMORY in self._own else max(working_set, 0)


def _cgroups_of(handle: Handle) -> list[str]:
    try:
        return list(json.loads(Path(names.config(handle.bundle)).read_text())["cgroups"])
    except (OSError, ValueError, KeyError):
        # The container has ended meanwhile, and was forgotten.
        return []


def _container(name: str, handle: Handle, stats: CgroupStats, layer: Disk) -> streams_pb2.ContainerStats:
    return streams_pb2.ContainerStats(
        name=name, cpuNanos=stats.cpu_nanos, cpuPeriods=stats.cpu_periods, cpuThrottledPeriods=stats.throttled_periods,
        cpuThrottledNanos=stats.throttled_nanos, memoryUsageBytes=stats.memory_usage,
        memoryWorkingSetBytes=stats.memory_working_set, memoryRssBytes=stats.memory_rss, memoryLimitBytes=stats.memory_limit,
        oomKills=stats.oom_kills, processes=stats.processes, fsUsageBytes=layer.used, fsInodes=layer.inodes,
        startedNanos=int(handle.started_at * 1e9),
    )  # fmt: skip


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def busy_nanos(text: str) -> int:
    """Of all processors together, from /proc/stat: without idle and iowait (proc_stat(5)). Guests are in user already."""
    words = text.partition("\n")[0].split()
    if len(words) < 9 or words[0] != "cpu":
        return 0
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(word) for word in words[1:9])
    return (user + nice + system + irq + softirq + steal) * _TICK


def interfaces(text: str) -> list[streams_pb2.InterfaceStats]:
    """/proc/PID/net/dev without the loopback: receive columns first, then transmit (proc_pid_net(5))."""
    found = []
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        words = [int(word) for word in rest.split()]
        if name.strip() != "lo" and len(words) == 16:
            counters = zip(_RECEIVE + _TRANSMIT, words[:4] + words[8:12], strict=True)
            found.append(streams_pb2.InterfaceStats(name=name.strip(), **dict(counters)))
    return found
