"""Rejects nodes whose free allocatable is less than the pod requests, one reason for each resource."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.scheduler.arrays import Mask
from controlplane.scheduler.clusterevent import ClusterEvent
from controlplane.scheduler.podinfo import RESOURCES, PodInfo
from controlplane.scheduler.table import NodeTable

_REASONS = {"pods": "Too many pods"}


class NodeResourcesFit:
    name = "NodeResourcesFit"
    wide = False
    resolvable = True
    events = ClusterEvent.ASSIGNED_POD_DELETE | ClusterEvent.UPDATE_NODE_ALLOCATABLE

    def rejects(self, pod: PodInfo, table: NodeTable, rows: slice) -> Mask | None:
        rejected: Mask | None = None
        for _, short in _short(pod, table, rows):
            rejected = short if rejected is None else rejected | short
        return rejected

    def reasons(self, pod: PodInfo, table: NodeTable, rows: slice) -> dict[str, Mask]:
        return {_REASONS.get(name, f"Insufficient {name}"): short for name, short in _short(pod, table, rows) if short.any()}


def _short(pod: PodInfo, table: NodeTable, rows: slice) -> Iterator[tuple[str, Mask]]:
    """By resource, the rows with too little of it. A resource that the pod does not request fits any node."""
    for column, name in enumerate(RESOURCES):
        if pod.requests[column] > 0:
            yield name, table.free[column][rows] < pod.requests[column]
