"""Prefers nodes with fewer pods of the same group: those of one owner, or with the same labels in a namespace."""

from __future__ import annotations

from controlplane.scheduler.arrays import Floats, Mask
from controlplane.scheduler.plugins.normalize import fewest_is_best
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import NodeTable


class PodTopologySpread:
    name = "PodTopologySpread"
    weight = 2.0

    def scores(self, pod: PodInfo, table: NodeTable, rows: slice, fits: Mask) -> Floats | None:
        counts = table.groups.of(pod.group)
        return None if counts is None else fewest_is_best(counts[rows], fits)
