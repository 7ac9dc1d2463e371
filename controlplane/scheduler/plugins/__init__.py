"""Filters and scores, one file each, named as in Kubernetes. To add one: write its file, list it here.

A *filter* answers with the nodes it refuses, by reason; a *score* rates every node from 0 to 100, more is better.
Both are pure functions of one pod and the table.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import Mask, NodeTable


class Filter(Protocol):
    name: str

    def refusals(self, pod: PodInfo, table: NodeTable) -> dict[str, Mask]:
        """Reason to the nodes refused for it."""


class Score(Protocol):
    name: str
    weight: float

    def scores(self, pod: PodInfo, table: NodeTable) -> NDArray[np.float64]:
        """One number from 0 to 100 per node."""


def default_filters() -> tuple[Filter, ...]:
    from controlplane.scheduler.plugins.nodeaffinity import NodeAffinity
    from controlplane.scheduler.plugins.nodeports import NodePorts
    from controlplane.scheduler.plugins.noderesourcesfit import NodeResourcesFit
    from controlplane.scheduler.plugins.nodeunschedulable import NodeUnschedulable
    from controlplane.scheduler.plugins.tainttoleration import TaintToleration

    return NodeUnschedulable(), TaintToleration(), NodeAffinity(), NodePorts(), NodeResourcesFit()


def default_scores() -> tuple[Score, ...]:
    from controlplane.scheduler.plugins.leastallocated import LeastAllocated
    from controlplane.scheduler.plugins.podtopologyspread import PodTopologySpread
    from controlplane.scheduler.plugins.tainttoleration import TaintToleration

    return LeastAllocated(), PodTopologySpread(), TaintToleration()
