"""The kubelet's /metrics/resource and, of its /metrics, what says how much runs. Pure.

Source: resource_metrics.go of the kubelet (pkg/kubelet/metrics/collectors), and its pkg/kubelet/metrics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from pinnace.api.v1.streams_pb2 import ContainerStats, NetworkReport, NodeStats, PodStats
from pinnace.core.v1.containerstatus_pb2 import ContainerState
from pinnace.core.v1.pod_pb2 import Pod

_NANO = 1e-9
# Of repairs; each has its series before its first one.
NETWORK_KINDS = ("link", "address", "sysctl", "port", "route", "neighbour", "fdb", "nft", "tunnel", "balancer")
FAST_PATH_RESULTS = ("forwarded", "learned", "passed")
_CONTAINER, _POD = ("container", "namespace", "pod"), ("namespace", "pod")


def resources(stats: NodeStats) -> bytes:
    """The text format of Prometheus."""
    return _rendered(_resources(stats))


def own(node: str, pods: Iterable[Pod], network: NetworkReport) -> bytes:
    """The text format of Prometheus."""
    return _rendered([*_own(node, list(pods)), _repairs(network), _packets(network)])


class _Families:
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _rendered(families: Iterable[Metric]) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Families(list(families)))
    return generate_latest(registry)


def _resources(stats: NodeStats) -> Iterator[Metric]:
    time = stats.timeNanos * _NANO
    containers = [(pod, item) for pod in stats.pods for item in pod.containers]
    cpu = CounterMetricFamily("node_cpu_usage_seconds", "Cumulative cpu time of the node in core-seconds")
    cpu.add_metric((), stats.cpuNanos * _NANO, timestamp=time)
    memory = GaugeMetricFamily("node_memory_working_set_bytes", "Working set of the node in bytes")
    memory.add_metric((), stats.memoryWorkingSetBytes, timestamp=time)
    yield from (cpu, memory)
    cpu = CounterMetricFamily("container_cpu_usage_seconds", "Cumulative cpu time in core-seconds", labels=_CONTAINER)
    memory = GaugeMetricFamily("container_memory_working_set_bytes", "Working set in bytes", labels=_CONTAINER)
    start = GaugeMetricFamily("container_start_time_seconds", "Start time since the epoch in seconds", labels=_CONTAINER)
    for pod, item in containers:
        labels = _labels(pod, item)
        cpu.add_metric(labels, item.cpuNanos * _NANO, timestamp=time)
        memory.add_metric(labels, item.memoryWorkingSetBytes, timestamp=time)
        start.add_metric(labels, item.startedNanos * _NANO)
    yield from (cpu, memory, start)
    cpu = CounterMetricFamily("pod_cpu_usage_seconds", "Cumulative cpu time of the pod in core-seconds", labels=_POD)
    memory = GaugeMetricFamily("pod_memory_working_set_bytes", "Working set of the pod in bytes", labels=_POD)
    for pod in stats.pods:
        cpu.add_metric((pod.namespace, pod.name), sum(item.cpuNanos for item in pod.containers) * _NANO, timestamp=time)
        working_set = sum(item.memoryWorkingSetBytes for item in pod.containers)
        memory.add_metric((pod.namespace, pod.name), working_set, timestamp=time)
    yield from (cpu, memory)
    yield GaugeMetricFamily("scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", value=0)


def _labels(pod: PodStats, item: ContainerStats) -> tuple[str, str, str]:
    return item.name, pod.namespace, pod.name


def _own(node: str, pods: list[Pod]) -> Iterator[Metric]:
    name = GaugeMetricFamily("kubelet_node_name", "The node's name. The count is always 1.", labels=("node",))
    name.add_metric((node,), 1)
    yield name
    running = sum(pod.status.phase == "Running" for pod in pods)
    yield GaugeMetricFamily("kubelet_running_pods", "Number of pods that have a running pod sandbox", value=running)
    states = Counter(_state(item.state) for pod in pods for item in pod.status.containerStatuses)
    found = GaugeMetricFamily("kubelet_running_containers", "Number of containers by state", labels=("container_state",))
    for state, count in sorted(states.items()):
        found.add_metric((state,), count)
    yield found


def _repairs(network: NetworkReport) -> Metric:
    text = "Parts of the node's network that were not as programmed, and were repaired"
    return _counter("pinnace_network_repairs", text, "kind", {kind: network.repairs.get(kind, 0) for kind in NETWORK_KINDS})


def _packets(network: NetworkReport) -> Metric:
    text = "Packets between pods: forwarded by the fast path, learned from by it, or passed on to the slow path"
    values = {result: network.fastPathPackets.get(result, 0) for result in FAST_PATH_RESULTS}
    return _counter("pinnace_network_fast_path_packets", text, "result", values)


def _counter(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    found = CounterMetricFamily(name, text, labels=(label,))
    for value, count in values.items():
        found.add_metric((value,), count)
    return found


def _state(state: ContainerState) -> str:
    if state.HasField("running"):
        return "running"
    return "exited" if state.HasField("terminated") else "created"
