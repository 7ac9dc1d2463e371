"""What of a machine belongs to pods: capacity, what is reserved of it, and what is left to allocate.

Source: kubelet's node allocatable: capacity less the system's and the agent's reservations less what eviction must keep
free. The cgroup of all pods may use the eviction part too, or nothing could be evicted before the kernel kills.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nodeagent.eviction.thresholds import HARD, Threshold, parse
from nodeagent.runtime.cgroupfiles import Limits
from pinnace import podresources
from pinnace.podresources import CPU, MEMORY, STORAGE, Amounts

PIDS = "pid"
# Bytes of a monitor, one for each container (benchmarks/footprint.py); of a pod's, as some have more than one container. What
# all containers need beyond that counts as requests of memory (`admission`).
MONITOR = 2_100_000
POD_OVERHEAD = 3 << 20
RESERVABLE = (CPU, MEMORY, STORAGE, PIDS)
# Which resource a hard threshold keeps free (kubelet reserves for these two only).
_KEPT_FREE = {"memory.available": MEMORY, "nodefs.available": STORAGE}


@dataclass(frozen=True, slots=True)
class NodeResources:
    """Millicores, bytes and processes by resource name.

    `capacity` says what this node has where that is less than the machine: several nodes of a lab share one."""

    capacity: Mapping[str, int] = field(default_factory=dict)
    system_reserved: Mapping[str, int] = field(default_factory=dict)
    kube_reserved: Mapping[str, int] = field(default_factory=dict)
    hard: tuple[Threshold, ...] = field(default_factory=lambda: parse(HARD))
    max_pods: int = 110
    # Bytes of the processes that look after a pod's containers (monitors), which are in no cgroup of a pod.
    pod_overhead: int = 0
    # Of one pod, all containers together; zero for no limit.
    pod_max_pids: int = 4096

    def capacity_of(self, machine: Amounts) -> Amounts:
        return machine | {name: value for name, value in self.capacity.items() if name in machine}

    def usable(self, machine: Amounts) -> Amounts:
        """What all pods together are held to: the capacity less what is reserved."""
        return {name: max(value - self._reserved(name, value), 0) for name, value in self.capacity_of(machine).items()}

    def allocatable(self, machine: Amounts) -> Amounts:
        """What pods may request."""
        capacity, left = self.capacity_of(machine), self.usable(machine)
        for threshold in self.hard:
            name = _KEPT_FREE.get(threshold.signal, "")
            if name in left:
                left[name] = max(left[name] - threshold.amount(capacity[name]), 0)
        return left

    def measured(self) -> Amounts:
        """The node's own capacity as eviction measures it: what monitors have of it is in no pod's usage."""
        found = dict(self.capacity)
        if MEMORY in found:
            found[MEMORY] -= self._overhead(found[MEMORY])
        return found

    def monitors(self, machine: Amounts) -> int:
        """Bytes that are reserved for the monitors of all pods."""
        return self._overhead(self.capacity_of(machine)[MEMORY])

    def node_limits(self, machine: Amounts) -> Limits:
        """Of the cgroup that holds every pod."""
        usable = self.usable(machine)
        pids = usable.get(PIDS, 0) if PIDS in {*self.capacity, *self.system_reserved, *self.kube_reserved} else 0
        return Limits(cpu_request=usable.get(CPU, 0), memory_limit=usable.get(MEMORY, 0), pids=pids)

    def _reserved(self, name: str, capacity: int) -> int:
        overhead = self._overhead(capacity) if name == MEMORY else 0
        return self.system_reserved.get(name, 0) + self.kube_reserved.get(name, 0) + overhead

    def _overhead(self, memory: int) -> int:
        """Of all pods that the node may have; a small node, which has fewer, keeps a twentieth."""
        return min(self.max_pods * self.pod_overhead, memory // 20)


def parse_amounts(text: str) -> Amounts:
    """`cpu=500m,memory=1Gi`. Raises ValueError naming the part that is wrong."""
    found: Amounts = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals or name not in RESERVABLE:
            raise ValueError(f'"{part}": expected RESOURCE=QUANTITY with one of {", ".join(RESERVABLE)}')
        found[name] = podresources.amount(name, value)
        if found[name] < 0:
            raise ValueError(f'"{part}": must not be negative')
    return found


def pod_limits(spec: object, qos: str, pids: int) -> Limits:
    """Of a pod's cgroup: a quota or a maximum only where every container has one (kubelet's ResourceConfigForPod)."""
    asked, capped = podresources.requests(spec), podresources.limits(spec)
    return Limits(
        cpu_request=asked.get(CPU, 0) if qos != podresources.BEST_EFFORT else 0,
        cpu_limit=capped.get(CPU, 0) if podresources.limited(spec, CPU) else 0,
        memory_limit=capped.get(MEMORY, 0) if podresources.limited(spec, MEMORY) else 0,
        pids=pids,
    )
