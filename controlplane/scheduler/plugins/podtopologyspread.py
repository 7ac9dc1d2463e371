"""Prefers nodes with fewer pods of the same group: those of one owner, or with the same labels in a namespace."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import NodeTable


class PodTopologySpread:
    name = "PodTopologySpread"
    weight = 2.0

    def scores(self, pod: PodInfo, table: NodeTable) -> NDArray[np.float64]:
        counts = table.groups.get(pod.group)
        if counts is None or not counts.any():
            return np.full(len(table), 100.0)
        spread: NDArray[np.float64] = 100.0 * (1 - counts / counts.max())
        return spread
