"""The nodes as columns, so that a filter is one array expression over all of them. Updated in place, never rebuilt.

A node keeps its row for as long as it exists; rows of deleted nodes are reused, and the capacity doubles. A pod is counted in
and out by difference. The cost of a change of a pod does not depend on the number of nodes; a node that comes or goes also
shifts the column of name ranks, one array operation. Sums are Python integers, which cannot overflow; only their saturated
results go into the columns.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from controlplane.scheduler import arrays as np
from controlplane.scheduler import nodeinfo
from controlplane.scheduler.arrays import Counts, Floats, Mask, Numbers
from controlplane.scheduler.clusterevent import ClusterEvent
from controlplane.scheduler.labelcolumns import LabelColumns
from controlplane.scheduler.nodeinfo import NodeInfo
from controlplane.scheduler.podcounts import PodCounts
from controlplane.scheduler.podinfo import LIMIT, RESOURCES, PodInfo
from controlplane.scheduler.podterms import HeldTerms, PodTerms
from controlplane.scheduler.rowcounts import RowCounts
from controlplane.scheduler.taintsets import TaintSets
from controlplane.scheduler.volumes import Volumes, claim_key
from pinnace.core.v1 import node_pb2
from pinnace.hostports import HostPort

FIRST_CAPACITY = 16
# A pod that requests nothing still uses something, else all such pods would go to one node
# (Kubernetes' DefaultMilliCPURequest and DefaultMemoryRequest).
MINIMUM = (100, 200 << 20)
# Stands for every address of a node in the keys of `host_ports`.
ANY_ADDRESS = "*"


@dataclass(slots=True)
class _Node:
    """A node, or the name of one that pods are bound to and that does not exist (`info` None, `row` -1)."""

    info: NodeInfo | None = None
    row: int = -1
    sums: list[int] = field(default_factory=lambda: [0] * len(RESOURCES))
    pods: dict[str, PodInfo] = field(default_factory=dict)


class NodeTable:
    """Columns by node, with the pods that are counted on each. Rows without a node are not `alive`.

    `free[resource][row]` is allocatable minus requested; `idle[n][row]` is the share of cpu and memory that is free, and
    `inverse` one by their allocatable, 0 where there is none. `host_ports` and `groups` count by row; `volumes` are what the
    claims of pods are bound to.
    """

    def __init__(self, capacity: int = FIRST_CAPACITY) -> None:
        self.size = 0
        self.names: list[str] = []
        self.alive: Mask = np.zeros(capacity, dtype=np.bool_)
        self.unschedulable: Mask = np.zeros(capacity, dtype=np.bool_)
        self.taint_set: Counts = np.zeros(capacity, dtype=np.int32)
        # Position among the names, by which ties are decided.
        self.rank: Counts = np.zeros(capacity, dtype=np.int32)
        self.free: list[Numbers] = [np.zeros(capacity, dtype=np.int64) for _ in RESOURCES]
        self.idle: list[Floats] = [np.zeros(capacity, dtype=np.float64) for _ in MINIMUM]
        self.inverse: list[Floats] = [np.zeros(capacity, dtype=np.float64) for _ in MINIMUM]
        self.taint_sets = TaintSets()
        self.labels = LabelColumns(capacity)
        self.host_ports = RowCounts(capacity)
        self.groups = RowCounts(capacity)
        self.pods = PodCounts(capacity)
        # Terms of the pods in the table about other pods: required anti-affinity, and the weights of all others.
        self.anti_affinity = HeldTerms(RowCounts(capacity))
        self.attraction = HeldTerms(RowCounts(capacity))
        self.volumes = Volumes()
        # Nodes that are unschedulable.
        self.cordoned = 0
        self._nodes: dict[str, _Node] = {}
        self._pods: dict[str, PodInfo] = {}
        # Keys of the pods that use a claim.
        self._users: dict[str, set[str]] = {}
        # Pods by their priority.
        self._priorities: Counter[int] = Counter()
        self._sorted: list[str] = []
        self._unused_rows: list[int] = []

    def __len__(self) -> int:
        return len(self._sorted)

    @property
    def rows(self) -> slice:
        """All rows that may hold a node."""
        return slice(0, self.size)

    def row(self, name: str) -> int:
        """The row of a node, -1 when there is no such node."""
        node = self._nodes.get(name)
        return node.row if node else -1

    def node(self, name: str) -> NodeInfo | None:
        node = self._nodes.get(name)
        return node.info if node else None

    def pod(self, key: str) -> PodInfo | None:
        """The pod that is counted under a key."""
        return self._pods.get(key)

    def users(self, claim: str) -> set[str]:
        """The keys of the pods that are counted and use a claim."""
        return self._users.get(claim, set())

    def pods_on(self, name: str) -> Iterable[PodInfo]:
        """The pods that are counted on a node."""
        node = self._nodes.get(name)
        return list(node.pods.values()) if node else ()

    def has_below(self, priority: int) -> bool:
        """Whether a pod of lower priority is counted."""
        return min(self._priorities, default=priority) < priority

    # Nodes

    def set_node(self, info: NodeInfo) -> ClusterEvent:
        """Add a node or take in its change; returns what about it may help a rejected pod."""
        node = self._nodes.setdefault(info.name, _Node())
        old, node.info = node.info, info
        if old == info:
            return ClusterEvent.NONE
        if old is None:
            self._take_row(node, info.name)
        row = node.row
        if old is None or old.labels != info.labels:
            self.labels.set(row, info.name, info.labels)
        self._set_taints(row, old, info)
        self._refresh(node)
        return _difference(old, info)

    def remove_node(self, name: str) -> None:
        """Remove a node; its pods stay known, for a node of this name that comes later."""
        node = self._nodes.get(name)
        if node is None or node.info is None:
            return
        row, info = node.row, node.info
        for pod in node.pods.values():
            self._count(pod, row, -1)
        self.labels.clear(row, name)
        self.taint_sets.release(int(self.taint_set[row]))
        self.cordoned -= info.unschedulable
        rank = bisect.bisect_left(self._sorted, name)
        del self._sorted[rank]
        self.rank[self.rank > rank] -= 1
        self.alive[row] = self.unschedulable[row] = False
        self.taint_set[row] = self.rank[row] = 0
        for column in (*self.free, *self.idle, *self.inverse):
            column[row] = 0
        self.names[row] = ""
        self._unused_rows.append(row)
        node.info, node.row = None, -1
        self._drop_if_empty(name, node)

    def _take_row(self, node: _Node, name: str) -> None:
        if self._unused_rows:
            node.row = self._unused_rows.pop()
            self.names[node.row] = name
        else:
            if self.size == len(self.alive):
                self._grow(2 * self.size)
            node.row, self.size = self.size, self.size + 1
            self.names.append(name)
        rank = bisect.bisect_left(self._sorted, name)
        self._sorted.insert(rank, name)
        self.rank[self.alive & (self.rank >= rank)] += 1
        self.rank[node.row] = rank
        self.alive[node.row] = True
        for pod in node.pods.values():
            self._count(pod, node.row, 1)

    def _grow(self, capacity: int) -> None:
        self.alive, self.unschedulable = np.extended(self.alive, capacity), np.extended(self.unschedulable, capacity)
        self.taint_set, self.rank = np.extended(self.taint_set, capacity), np.extended(self.rank, capacity)
        for columns in (self.free, self.idle, self.inverse):
            columns[:] = [np.extended(column, capacity) for column in columns]
        self.labels.resize(capacity)
        self.pods.resize(capacity)
        for counts in (self.host_ports, self.groups, self.anti_affinity.counts, self.attraction.counts):
            counts.resize(capacity)

    def _set_taints(self, row: int, old: NodeInfo | None, new: NodeInfo) -> None:
        number = self.taint_sets.acquire(new.taints)
        if old is not None:
            self.taint_sets.release(int(self.taint_set[row]))
            self.cordoned -= old.unschedulable
        self.taint_set[row] = number
        self.unschedulable[row] = new.unschedulable
        self.cordoned += new.unschedulable

    # Pods

    def add_pod(self, pod: PodInfo) -> None:
        """Count a pod on its node, in place of the one that was counted under its key."""
        if self._pods.get(pod.key) == pod:
            self._pods[pod.key] = self._nodes[pod.node].pods[pod.key] = pod
            return
        self.remove_pod(pod.key)
        self._pods[pod.key] = pod
        self._priorities[pod.priority] += 1
        node = self._nodes.setdefault(pod.node, _Node())
        node.pods[pod.key] = pod
        for item in pod.claims:
            self._users.setdefault(claim_key(pod, item), set()).add(pod.key)
        self._add(node, pod, 1)

    def remove_pod(self, key: str) -> PodInfo | None:
        """Count a pod out; returns it, None when it was not counted."""
        pod = self._pods.pop(key, None)
        if pod is None:
            return None
        self._priorities[pod.priority] -= 1
        if not self._priorities[pod.priority]:
            del self._priorities[pod.priority]
        node = self._nodes[pod.node]
        del node.pods[key]
        for item in pod.claims:
            self._unuse(claim_key(pod, item), key)
        self._add(node, pod, -1)
        self._drop_if_empty(pod.node, node)
        return pod

    def _unuse(self, claim: str, key: str) -> None:
        users = self._users.get(claim, set())
        users.discard(key)
        if not users:
            self._users.pop(claim, None)

    @contextmanager
    def without(self, key: str) -> Iterator[None]:
        """The table as it would be if this pod were not counted."""
        pod = self.remove_pod(key)
        try:
            yield
        finally:
            if pod is not None:
                self.add_pod(pod)

    def _drop_if_empty(self, name: str, node: _Node) -> None:
        if node.info is None and not node.pods:
            del self._nodes[name]

    def _add(self, node: _Node, pod: PodInfo, sign: int) -> None:
        for column, amount in enumerate(pod.requests):
            node.sums[column] += sign * amount
        if node.row >= 0:
            self._count(pod, node.row, sign)
            self._refresh(node)

    def _count(self, pod: PodInfo, row: int, sign: int) -> None:
        self.groups.add(pod.group, row, sign)
        self.pods.add(pod.labels, row, sign)
        if pod.terms is not None:
            self._count_terms(pod.terms, row, sign)
        for port in pod.host_ports:
            for key in _taken(port):
                self.host_ports.add(key, row, sign)

    def _count_terms(self, terms: PodTerms, row: int, sign: int) -> None:
        for item in terms.anti_affinity:
            self.anti_affinity.count(item, row, 1, sign)
        for weight, item in terms.weighted:
            self.attraction.count(item, row, weight, sign)

    def _refresh(self, node: _Node) -> None:
        """Write a node's amounts into the columns."""
        assert node.info is not None
        allocatable, sums, row = node.info.allocatable, node.sums, node.row
        for column in range(len(RESOURCES)):
            self.free[column][row] = max(-LIMIT, min(LIMIT, allocatable[column] - sums[column]))
        for column in (0, 1):
            # A pod counts at least as the minimum, also where it requests nothing.
            used = min(LIMIT, max(sums[column], sums[3] * MINIMUM[column]))
            capacity = allocatable[column]
            self.idle[column][row] = 1.0 - used / capacity if capacity else 0.0
            self.inverse[column][row] = 1.0 / capacity if capacity else 0.0


def _taken(port: HostPort) -> tuple[tuple[str, int, str], tuple[str, int, str]]:
    return (port.protocol, port.port, port.address), (port.protocol, port.port, ANY_ADDRESS)


def _difference(old: NodeInfo | None, new: NodeInfo) -> ClusterEvent:
    if old is None:
        return ClusterEvent.NODE_ADD
    changed = ClusterEvent.NONE
    if any(now > before for now, before in zip(new.allocatable, old.allocatable, strict=True)):
        changed |= ClusterEvent.UPDATE_NODE_ALLOCATABLE
    if old.labels != new.labels:
        changed |= ClusterEvent.UPDATE_NODE_LABEL
    # As in Kubernetes cordoning is a taint.
    if old.taints != new.taints or old.unschedulable != new.unschedulable:
        changed |= ClusterEvent.UPDATE_NODE_TAINT
    return changed


def build(nodes: Iterable[node_pb2.Node], placed: Iterable[PodInfo]) -> NodeTable:
    """A table of Node messages with the pods that are on them."""
    table = NodeTable()
    for node in nodes:
        table.set_node(nodeinfo.read(node))
    for pod in placed:
        if pod.node:
            table.add_pod(pod)
    return table
