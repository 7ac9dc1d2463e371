"""Prefers the node with the larger free share of cpu and memory once the pod is there (NodeResourcesFit's default)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import NodeTable

# A pod that requests nothing still weighs something, else all such pods would go to one node
# (Kubernetes' DefaultMilliCPURequest and DefaultMemoryRequest).
_MINIMUM = np.array([100, 200 << 20], dtype=np.int64)


class LeastAllocated:
    name = "NodeResourcesFit"
    weight = 1.0

    def scores(self, pod: PodInfo, table: NodeTable) -> NDArray[np.float64]:
        capacity = table.allocatable[:, :2].astype(np.float64)
        # The pods column stands in for what pods without requests take.
        used = np.maximum(table.requested[:, :2], table.requested[:, 3:4] * _MINIMUM)
        asked = np.maximum(np.array(pod.requests[:2], dtype=np.int64), _MINIMUM)
        with np.errstate(divide="ignore", invalid="ignore"):
            free = np.where(capacity > 0, (capacity - used - asked) / capacity, 0.0)
        rated: NDArray[np.float64] = np.clip(free, 0.0, 1.0).mean(axis=1) * 100.0
        return rated
