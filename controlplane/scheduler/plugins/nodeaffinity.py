"""Refuses nodes whose labels do not hold every pair of the pod's nodeSelector."""

from __future__ import annotations

import numpy as np

from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import Mask, NodeTable


class NodeAffinity:
    name = "NodeAffinity"

    def refusals(self, pod: PodInfo, table: NodeTable) -> dict[str, Mask]:
        if not pod.node_selector:
            return {}
        wanted = pod.node_selector.items()
        refused = np.array([not wanted <= labels.items() for labels in table.labels], dtype=np.bool_)
        return {"node(s) didn't match Pod's node affinity/selector": refused}
