"""Refuses nodes on which a host port of the pod is taken."""

from __future__ import annotations

import numpy as np

from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import Mask, NodeTable
from pinnace import hostports


class NodePorts:
    name = "NodePorts"

    def refusals(self, pod: PodInfo, table: NodeTable) -> dict[str, Mask]:
        if not pod.host_ports:
            return {}
        refused = np.zeros(len(table), dtype=np.bool_)
        for index, taken in table.host_ports.items():
            refused[index] = hostports.conflict(pod.host_ports, taken)
        return {"node(s) didn't have free ports for the requested pod ports": refused}
