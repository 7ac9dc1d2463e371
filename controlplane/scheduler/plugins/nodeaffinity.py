"""Rejects nodes whose labels do not hold every pair of the pod's nodeSelector."""

from __future__ import annotations

import numpy as np

from controlplane.scheduler.clusterevent import ClusterEvent
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import Mask, NodeTable

REASON = "node(s) didn't match Pod's node affinity/selector"


class NodeAffinity:
    name = "NodeAffinity"
    events = ClusterEvent.UPDATE_NODE_LABEL

    def rejects(self, pod: PodInfo, table: NodeTable, rows: slice) -> Mask | None:
        rejected: Mask | None = None
        for pair in pod.node_selector:
            counts = table.labels.of(pair)
            if counts is None:
                return np.ones(len(table.alive[rows]), dtype=np.bool_)
            missing = counts[rows] == 0
            rejected = missing if rejected is None else rejected | missing
        return rejected

    def reasons(self, pod: PodInfo, table: NodeTable, rows: slice) -> dict[str, Mask]:
        rejected = self.rejects(pod, table, rows)
        return {} if rejected is None else {REASON: rejected}
