"""Filters and scores, one file each, named as in Kubernetes. To add one: write its file, list it in `default_profile`.

Both are pure functions of one pod and some rows of the node table (`table.rows` for all of them), each a few array
expressions; neither may loop over nodes. Masks and scores have one element for each row of `rows`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from controlplane.scheduler.arrays import Floats, Mask
from controlplane.scheduler.clusterevent import ClusterEvent
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import NodeTable


class Filter(Protocol):
    """`events`: the changes that may end a rejection by this filter, in addition to a new node.

    `wide`: a change on one node may end rejections of others. `resolvable`: removing pods from a node may end its rejection."""

    name: str
    events: ClusterEvent
    wide: bool
    resolvable: bool

    def rejects(self, pod: PodInfo, table: NodeTable, rows: slice) -> Mask | None:
        """The rejected rows; None when no row is."""

    def reasons(self, pod: PodInfo, table: NodeTable, rows: slice) -> dict[str, Mask]:
        """The rejected rows by reason, in Kubernetes' words; only called to explain a rejection."""


@runtime_checkable
class Detailing(Protocol):
    """A filter that can add to its reason. `detail`: the cause on one rejected row, for `kctl why`; empty without one."""

    def detail(self, pod: PodInfo, table: NodeTable, row: int) -> str: ...


class PreFilter(Protocol):
    """A filter of all nodes at once, which is asked first."""

    name: str

    def prevents(self, pod: PodInfo, table: NodeTable) -> str:
        """Why no node can take the pod, whichever nodes there are, in Kubernetes' words; empty: some may."""


class Score(Protocol):
    """`weight`: the factor of its scores in a node's total."""

    name: str
    weight: float

    def scores(self, pod: PodInfo, table: NodeTable, rows: slice, fits: Mask) -> Floats | None:
        """More is better: from 0 to 100 on the rows that passed all filters (`fits`), which alone are compared; others have any
        value. None when all are equal."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The plugins of a scheduler; filters in the order in which they are asked."""

    filters: tuple[Filter, ...]
    scores: tuple[Score, ...]
    prefilters: tuple[PreFilter, ...] = ()

    def wide(self, plugins: frozenset[str], events: ClusterEvent) -> bool:
        """Whether such changes may help a pod which these filters rejected on other nodes than the changed ones."""
        return any(item.wide and item.name in plugins and item.events & events for item in self.filters)

    def events(self, plugins: frozenset[str]) -> ClusterEvent:
        """The changes that may help a pod which these filters rejected."""
        found = ClusterEvent.NODE_ADD
        for item in self.filters:
            if item.name in plugins:
                found |= item.events
        return found


def default_profile() -> Profile:
    from controlplane.scheduler.plugins.interpodaffinity import InterPodAffinity
    from controlplane.scheduler.plugins.leastallocated import LeastAllocated
    from controlplane.scheduler.plugins.nodeaffinity import NodeAffinity
    from controlplane.scheduler.plugins.nodeports import NodePorts
    from controlplane.scheduler.plugins.noderesourcesfit import NodeResourcesFit
    from controlplane.scheduler.plugins.nodeunschedulable import NodeUnschedulable
    from controlplane.scheduler.plugins.podtopologyspread import PodTopologySpread
    from controlplane.scheduler.plugins.tainttoleration import TaintToleration
    from controlplane.scheduler.plugins.volumebinding import VolumeBinding
    from controlplane.scheduler.plugins.volumerestrictions import VolumeRestrictions

    volumes = VolumeBinding()
    return Profile(
        filters=(
            NodeUnschedulable(),
            TaintToleration(),
            NodeAffinity(),
            NodePorts(),
            NodeResourcesFit(),
            VolumeRestrictions(),
            volumes,
            PodTopologySpread(),
            InterPodAffinity(),
        ),
        scores=(LeastAllocated(), NodeAffinity(), PodTopologySpread(), InterPodAffinity(), TaintToleration()),
        prefilters=(volumes,),
    )
