"""Rejects cordoned nodes, unless the pod tolerates `node.kubernetes.io/unschedulable`."""

from __future__ import annotations

from controlplane.scheduler.arrays import Mask
from controlplane.scheduler.clusterevent import ClusterEvent
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import NodeTable

REASON = "node(s) were unschedulable"


class NodeUnschedulable:
    name = "NodeUnschedulable"
    wide = False
    resolvable = False
    events = ClusterEvent.UPDATE_NODE_TAINT

    def rejects(self, pod: PodInfo, table: NodeTable, rows: slice) -> Mask | None:
        if not table.cordoned or not table.taint_sets.verdicts(pod.tolerations).cordoned:
            return None
        return table.unschedulable[rows]

    def reasons(self, pod: PodInfo, table: NodeTable, rows: slice) -> dict[str, Mask]:
        rejected = self.rejects(pod, table, rows)
        return {} if rejected is None else {REASON: rejected}
