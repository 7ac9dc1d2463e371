"""The kubelet's /stats/summary from a node's statistics. Pure.

Source: Summary of k8s.io/kubelet (pkg/apis/stats/v1alpha1). What the agent does not measure is left out: it is optional there.
"""

from __future__ import annotations

from typing import Any

from pinnace import codec
from pinnace.api.v1.streams_pb2 import ContainerStats, InterfaceStats, NodeStats, PodStats

Document = dict[str, Any]


def document(rates: NodeStats, disks: NodeStats | None = None) -> Document:
    """`rates` were measured over a window, `disks` have writable layers; without them they are left out."""
    time = _time(rates.timeNanos)
    layers = {
        (pod.uid, item.name): item for pod in (disks.pods if disks is not None else ()) for item in pod.containers
    }  # fmt: skip
    node = {
        "nodeName": rates.node,
        "cpu": _cpu(time, rates.cpuNanoCores, rates.cpuNanos),
        "memory": {"time": time, "usageBytes": rates.memoryUsageBytes, "workingSetBytes": rates.memoryWorkingSetBytes},
    }
    return {"node": node, "pods": [_pod(time, pod, layers) for pod in rates.pods]}


def _pod(time: str, pod: PodStats, layers: dict[tuple[str, str], ContainerStats]) -> Document:
    containers = pod.containers
    found: Document = {
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "startTime": _time(min((item.startedNanos for item in containers), default=0)),
        "containers": [_container(time, item, layers.get((pod.uid, item.name))) for item in containers],
        "cpu": _cpu(time, sum(item.cpuNanoCores for item in containers), sum(item.cpuNanos for item in containers)),
        "memory": {
            "time": time,
            "usageBytes": sum(item.memoryUsageBytes for item in containers),
            "workingSetBytes": sum(item.memoryWorkingSetBytes for item in containers),
            "rssBytes": sum(item.memoryRssBytes for item in containers),
        },
        "process_stats": {"process_count": sum(item.processes for item in containers)},
    }
    if pod.interfaces:
        interfaces = [_interface(item) for item in pod.interfaces]
        found["network"] = {"time": time, **interfaces[0], "interfaces": interfaces}
    return found


def _container(time: str, item: ContainerStats, layer: ContainerStats | None) -> Document:
    memory: Document = {
        "time": time, "usageBytes": item.memoryUsageBytes, "workingSetBytes": item.memoryWorkingSetBytes,
        "rssBytes": item.memoryRssBytes,
    }  # fmt: skip
    if item.memoryLimitBytes:
        memory["availableBytes"] = max(item.memoryLimitBytes - item.memoryWorkingSetBytes, 0)
    found: Document = {
        "name": item.name, "startTime": _time(item.startedNanos), "cpu": _cpu(time, item.cpuNanoCores, item.cpuNanos),
        "memory": memory,
    }  # fmt: skip
    if layer is not None:
        found["rootfs"] = {"time": time, "usedBytes": layer.fsUsageBytes, "inodesUsed": layer.fsInodes}
    return found


def _cpu(time: str, cores: int, nanos: int) -> Document:
    return {"time": time, "usageNanoCores": cores, "usageCoreNanoSeconds": nanos}


def _interface(item: InterfaceStats) -> Document:
    return {
        "name": item.name, "rxBytes": item.receiveBytes, "rxErrors": item.receiveErrors,
        "txBytes": item.transmitBytes, "txErrors": item.transmitErrors,
    }  # fmt: skip


def _time(nanos: int) -> str:
    return codec.format_time(nanos // 1_000_000_000)
