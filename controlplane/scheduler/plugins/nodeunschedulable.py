"""Refuses cordoned nodes, unless the pod tolerates `node.kubernetes.io/unschedulable`."""

from __future__ import annotations

from controlplane.scheduler.plugins.tainttoleration import tolerates
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import Mask, NodeTable

KEY = "node.kubernetes.io/unschedulable"


class NodeUnschedulable:
    name = "NodeUnschedulable"

    def refusals(self, pod: PodInfo, table: NodeTable) -> dict[str, Mask]:
        if not table.unschedulable.any() or any(tolerates(t, KEY, "", "NoSchedule") for t in pod.tolerations):
            return {}
        return {"node(s) were unschedulable": table.unschedulable}
