"""Prefers the node with the larger free share of cpu and memory once the pod is there (NodeResourcesFit's default)."""

from __future__ import annotations

from controlplane.scheduler import arrays as np
from controlplane.scheduler.arrays import Floats, Mask
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import MINIMUM, NodeTable


class LeastAllocated:
    name = "NodeResourcesFit"
    weight = 1.0

    def scores(self, pod: PodInfo, table: NodeTable, rows: slice, fits: Mask) -> Floats | None:
        cpu, memory = (_left(pod, table, rows, column) for column in (0, 1))
        rated: Floats = (cpu + memory) * 50.0
        return rated


def _left(pod: PodInfo, table: NodeTable, rows: slice, column: int) -> Floats:
    asked = float(max(pod.requests[column], MINIMUM[column]))
    left: Floats = np.maximum(table.idle[column][rows] - table.inverse[column][rows] * asked, 0.0)
    return left
