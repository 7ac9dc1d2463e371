"""What pods use, in place of the statistics that agents send: a test says how much, and sees which nodes were asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from controlplane.store import Store
from pinnace import kinds
from pinnace.api.v1 import streams_pb2
from pinnace.clock import VirtualClock
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.usage import Sample

# Thousandths of a processor, and bytes of memory, of each container of a pod; None: its node has not measured it.
Use = tuple[int, int] | None
SECOND = 1_000_000_000


class Load:
    """A sampler (`controlplane.usagecollector.Sampler`)."""

    def __init__(self, store: Store, clock: VirtualClock) -> None:
        self._store = store
        self._clock = clock
        self.use: Callable[[Pod], Use] = lambda pod: (0, 0)
        # Nodes that do not answer.
        self.silent: set[str] = set()
        # Nodes that were asked, in the order of the rounds.
        self.asked: list[list[str]] = []

    async def of(self, nodes: Iterable[str]) -> dict[str, Sample]:
        wanted = sorted(nodes)
        self.asked.append(wanted)
        return {node: self._sample(node) for node in wanted if node not in self.silent}

    def _sample(self, node: str) -> Sample:
        stats = streams_pb2.NodeStats(node=node, timeNanos=int(self._clock.now() * SECOND))
        for row in self._store.rows(kinds.POD):
            pod = row.message
            use = self.use(pod) if pod.spec.nodeName == node and pod.status.phase == "Running" else None
            if use is not None:
                found = stats.pods.add(namespace=pod.metadata.namespace, name=pod.metadata.name, uid=pod.metadata.uid)
                for container in pod.spec.containers:
                    found.containers.add(
                        name=container.name, cpuNanoCores=use[0] * 1_000_000, memoryWorkingSetBytes=use[1]
                    )  # fmt: skip
        return Sample(stats, 5 * SECOND, {(pod.namespace, pod.name): pod for pod in stats.pods})
