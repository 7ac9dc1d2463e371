"""The kubelet's /metrics/resource and, of its /metrics, what says how much runs. Pure.

Source: resource_metrics.go of the kubelet (pkg/kubelet/metrics/collectors), and its pkg/kubelet/metrics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from controlplane import prometheus
from controlplane.prometheus import Family
from pinnace.api.v1.streams_pb2 import ContainerStats, NodeStats, PodStats
from pinnace.core.v1.containerstatus_pb2 import ContainerState
from pinnace.core.v1.pod_pb2 import Pod

_NANO = 1e-9
_CONTAINER, _POD = ("container", "namespace", "pod"), ("namespace", "pod")


def resources(stats: NodeStats) -> bytes:
    """The text format of Prometheus."""
    return prometheus.render(_resources(stats))


def own(node: str, pods: Iterable[Pod]) -> bytes:
    """The text format of Prometheus."""
    return prometheus.render(_own(node, list(pods)))


def _resources(stats: NodeStats) -> Iterator[Family]:
    time = stats.timeNanos * _NANO
    containers = [(pod, item) for pod in stats.pods for item in pod.containers]
    cpu = Family("counter", "node_cpu_usage_seconds", "Cumulative cpu time of the node in core-seconds")
    cpu.add((), stats.cpuNanos * _NANO, timestamp=time)
    memory = Family("gauge", "node_memory_working_set_bytes", "Working set of the node in bytes")
    memory.add((), stats.memoryWorkingSetBytes, timestamp=time)
    yield from (cpu, memory)
    cpu = Family("counter", "container_cpu_usage_seconds", "Cumulative cpu time in core-seconds", _CONTAINER)
    memory = Family("gauge", "container_memory_working_set_bytes", "Working set in bytes", _CONTAINER)
    start = Family("gauge", "container_start_time_seconds", "Start time since the epoch in seconds", _CONTAINER)
    for pod, item in containers:
        labels = _labels(pod, item)
        cpu.add(labels, item.cpuNanos * _NANO, timestamp=time)
        memory.add(labels, item.memoryWorkingSetBytes, timestamp=time)
        start.add(labels, item.startedNanos * _NANO)
    yield from (cpu, memory, start)
    cpu = Family("counter", "pod_cpu_usage_seconds", "Cumulative cpu time of the pod in core-seconds", _POD)
    memory = Family("gauge", "pod_memory_working_set_bytes", "Working set of the pod in bytes", _POD)
    for pod in stats.pods:
        cpu.add((pod.namespace, pod.name), sum(item.cpuNanos for item in pod.containers) * _NANO, timestamp=time)
        working_set = sum(item.memoryWorkingSetBytes for item in pod.containers)
        memory.add((pod.namespace, pod.name), working_set, timestamp=time)
    yield from (cpu, memory)
    yield prometheus.single("scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", 0)


def _labels(pod: PodStats, item: ContainerStats) -> tuple[str, str, str]:
    return item.name, pod.namespace, pod.name


def _own(node: str, pods: list[Pod]) -> Iterator[Family]:
    name = Family("gauge", "kubelet_node_name", "The node's name. The count is always 1.", ("node",))
    name.add((node,), 1)
    yield name
    running = sum(pod.status.phase == "Running" for pod in pods)
    yield prometheus.single("kubelet_running_pods", "Number of pods that have a running pod sandbox", running)
    states = Counter(_state(item.state) for pod in pods for item in pod.status.containerStatuses)
    found = Family("gauge", "kubelet_running_containers", "Number of containers by state", ("container_state",))
    for state, count in sorted(states.items()):
        found.add((state,), count)
    yield found


def _state(state: ContainerState) -> str:
    if state.HasField("running"):
        return "running"
    return "exited" if state.HasField("terminated") else "created"
