"""Prometheus metrics of all containers, from statistics of every node at the moment of a scrape; named as cAdvisor names them.

A node that does not answer in time is missing from the answer, and one metric says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

_CONTAINER = ("namespace", "pod", "container", "node")
_NETWORK = ("namespace", "pod", "interface", "node")
_NANO = 1e-9

# Name, help, field, factor.
_COUNTERS = (
    ("container_cpu_usage_seconds", "Processor time", "cpuNanos", _NANO),
    ("container_cpu_cfs_periods", "Periods in which a cpu limit was in force", "cpuPeriods", 1),
    ("container_cpu_cfs_throttled_periods", "Periods in which it held the container back", "cpuThrottledPeriods", 1),
    ("container_cpu_cfs_throttled_seconds", "How long it was held back", "cpuThrottledNanos", _NANO),
    ("container_oom_events", "Processes killed for want of memory", "oomKills", 1),
)
_GAUGES = (
    ("container_memory_usage_bytes", "Memory, with all file pages", "memoryUsageBytes", 1),
    ("container_memory_working_set_bytes", "Memory without inactive file pages", "memoryWorkingSetBytes", 1),
    ("container_memory_rss", "Anonymous memory in bytes", "memoryRssBytes", 1),
    ("container_spec_memory_limit_bytes", "Memory limit; 0 is none", "memoryLimitBytes", 1),
    ("container_processes", "Tasks", "processes", 1),
    ("container_fs_usage_bytes", "Bytes in the writable layer", "fsUsageBytes", 1),
    ("container_fs_inodes", "Files and folders in the writable layer", "fsInodes", 1),
    ("container_start_time_seconds", "When it started, since the epoch", "startedNanos", _NANO),
)
_INTERFACES = (
    ("container_network_receive_bytes", "Bytes received", "receiveBytes"),
    ("container_network_receive_packets", "Packets received", "receivePackets"),
    ("container_network_receive_errors", "Errors in receiving", "receiveErrors"),
    ("container_network_receive_packets_dropped", "Packets dropped in receiving", "receiveDropped"),
    ("container_network_transmit_bytes", "Bytes sent", "transmitBytes"),
    ("container_network_transmit_packets", "Packets sent", "transmitPackets"),
    ("container_network_transmit_errors", "Errors in sending", "transmitErrors"),
    ("container_network_transmit_packets_dropped", "Packets dropped in sending", "transmitDropped"),
)


def render(stats: dict[str, Any]) -> bytes:
    """The text format of Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Families(lambda: families(stats)))
    return generate_latest(registry)


class _Families:
    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self.collect = collect


def families(stats: dict[str, Any]) -> Iterator[Metric]:
    answered = {node: item for node, item in stats.items() if item is not None}
    up = GaugeMetricFamily("pinnace_node_stats_up", "Whether the node answered this scrape", labels=["node"])
    for node in sorted(stats):
        up.add_metric([node], float(node in answered))
    yield up
    yield from _of_nodes(answered)
    yield from _of_containers(answered)
    yield from _of_interfaces(answered)


def _of_nodes(answered: dict[str, Any]) -> Iterator[Metric]:
    cpu = CounterMetricFamily("node_cpu_usage_seconds", "Processor time of the node", labels=["node"])
    memory = GaugeMetricFamily("node_memory_working_set_bytes", "Memory without inactive file pages", labels=["node"])
    for node, item in sorted(answered.items()):
        cpu.add_metric([node], item.cpuNanos * _NANO)
        memory.add_metric([node], item.memoryWorkingSetBytes)
    yield from (cpu, memory)


def _of_containers(answered: dict[str, Any]) -> Iterator[Metric]:
    rows = [
        ((pod.namespace, pod.name, container.name, node), container)
        for node, item in sorted(answered.items())
        for pod in item.pods
        for container in pod.containers
    ]
    for cls, table in ((CounterMetricFamily, _COUNTERS), (GaugeMetricFamily, _GAUGES)):
        for name, text, field, factor in table:
            family = cls(name, text, labels=_CONTAINER)
            for labels, container in rows:
                family.add_metric(labels, getattr(container, field) * factor)
            yield family


def _of_interfaces(answered: dict[str, Any]) -> Iterator[Metric]:
    rows = [
        ((pod.namespace, pod.name, interface.name, node), interface)
        for node, item in sorted(answered.items())
        for pod in item.pods
        for interface in pod.interfaces
    ]
    for name, text, field in _INTERFACES:
        family = CounterMetricFamily(name, text, labels=_NETWORK)
        for labels, interface in rows:
            family.add_metric(labels, getattr(interface, field))
        yield family
