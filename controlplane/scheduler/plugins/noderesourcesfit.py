"""Refuses nodes whose free allocatable is less than the pod requests, one reason for each resource."""

from __future__ import annotations

import numpy as np

from controlplane.scheduler.podinfo import RESOURCES, PodInfo
from controlplane.scheduler.table import Mask, NodeTable

_REASONS = {"pods": "Too many pods"}


class NodeResourcesFit:
    name = "NodeResourcesFit"

    def refusals(self, pod: PodInfo, table: NodeTable) -> dict[str, Mask]:
        asked = np.array(pod.requests, dtype=np.int64)
        # What is not asked for always fits, also on a node that is over its capacity.
        short = (table.allocatable - table.requested < asked) & (asked > 0)
        return {
            _REASONS.get(name, f"Insufficient {name}"): short[:, column]
            for column, name in enumerate(RESOURCES)
            if short[:, column].any()
        }
