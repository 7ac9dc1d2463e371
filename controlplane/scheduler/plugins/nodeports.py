"""Rejects nodes on which a host port of the pod is taken."""

from __future__ import annotations

from controlplane.scheduler import arrays as np
from controlplane.scheduler.arrays import Mask
from controlplane.scheduler.clusterevent import ClusterEvent
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import ANY_ADDRESS, NodeTable
from pinnace.hostports import HostPort

REASON = "node(s) didn't have free ports for the requested pod ports"


class NodePorts:
    name = "NodePorts"
    wide = False
    resolvable = True
    events = ClusterEvent.ASSIGNED_POD_DELETE

    def rejects(self, pod: PodInfo, table: NodeTable, rows: slice) -> Mask | None:
        if not pod.host_ports:
            return None
        taken = np.zeros(table.size, dtype=np.bool_)
        for port in pod.host_ports:
            for key in _conflicting(port):
                table.host_ports.mark(key, taken)
        rejected: Mask = taken[rows]
        return rejected

    def reasons(self, pod: PodInfo, table: NodeTable, rows: slice) -> dict[str, Mask]:
        rejected = self.rejects(pod, table, rows)
        return {} if rejected is None else {REASON: rejected}


def _conflicting(port: HostPort) -> list[tuple[str, int, str]]:
    """The keys of `table.host_ports` that conflict: a port on all addresses conflicts with one on any (HostPort.conflicts)."""
    addresses = (port.address, "") if port.address else (ANY_ADDRESS,)
    return [(port.protocol, port.port, address) for address in addresses]
