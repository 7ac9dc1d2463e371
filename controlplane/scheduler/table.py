"""The nodes as columns: one row a node, so that a filter looks at all of them in one NumPy expression."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.scheduler.podinfo import RESOURCES, PodInfo
from pinnace import quantity
from pinnace.hostports import HostPort

Mask = NDArray[np.bool_]
Numbers = NDArray[np.int64]


@dataclass(slots=True)
class NodeTable:
    """`allocatable` and `requested` are of shape (nodes, resources), columns as in RESOURCES."""

    names: list[str]
    allocatable: Numbers
    requested: Numbers
    unschedulable: Mask
    taints: list[tuple[Any, ...]]
    labels: list[dict[str, str]]
    # group -> how many of its pods each node has
    groups: dict[str, Numbers] = field(default_factory=dict)
    # By row: the host ports that are taken there.
    host_ports: dict[int, list[HostPort]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def place(self, pod: PodInfo, index: int) -> None:
        """Count a pod on a node."""
        self.requested[index] += np.array(pod.requests, dtype=np.int64)
        if pod.group not in self.groups:
            self.groups[pod.group] = np.zeros(len(self), dtype=np.int64)
        self.groups[pod.group][index] += 1
        if pod.host_ports:
            self.host_ports.setdefault(index, []).extend(pod.host_ports)


def build(nodes: list[Any], placed: list[PodInfo]) -> NodeTable:
    """A table of Node messages with the pods that are on them."""
    nodes = sorted(nodes, key=lambda node: node.metadata.name)
    rows = [[_allocatable(node, name) for name in RESOURCES] for node in nodes]
    allocatable = np.array(rows, dtype=np.int64).reshape(len(nodes), len(RESOURCES))
    table = NodeTable(
        names=[node.metadata.name for node in nodes],
        allocatable=allocatable,
        requested=np.zeros_like(allocatable),
        unschedulable=np.array([node.spec.unschedulable for node in nodes], dtype=np.bool_),
        taints=[tuple(node.spec.taints) for node in nodes],
        labels=[dict(node.metadata.labels) for node in nodes],
    )
    index = {name: position for position, name in enumerate(table.names)}
    for pod in placed:
        if pod.node in index:
            table.place(pod, index[pod.node])
    return table


def _allocatable(node: Any, resource: str) -> int:
    amounts = node.status.allocatable
    if resource not in amounts:
        return 0
    text = amounts[resource].string
    return quantity.milli(text) if resource == "cpu" else quantity.units(text)
