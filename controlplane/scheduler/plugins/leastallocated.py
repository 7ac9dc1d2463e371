"""Prefers the node with the larger free share of cpu and memory once the pod is there (NodeResourcesFit's default)."""

from __future__ import annotations

import numpy as np

from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import MINIMUM, Floats, Mask, NodeTable


class LeastAllocated:
    name = "NodeResourcesFit"
    weight = 1.0

    def scores(self, pod: PodInfo, table: NodeTable, rows: slice, fits: Mask) -> Floats | None:
        asked = np.maximum(np.array(pod.requests[:2], dtype=np.float64), MINIMUM)
        left = table.idle[:, rows] - table.inverse[:, rows] * asked[:, np.newaxis]
        np.maximum(left, 0.0, out=left)
        rated: Floats = (left[0] + left[1]) * 50.0
        return rated
