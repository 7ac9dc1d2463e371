"""Spreads pods over domains by their topology spread constraints: rejects nodes whose domain would exceed the skew
(DoNotSchedule), and prefers domains with fewer pods (ScheduleAnyway).

A pod without constraints prefers nodes with fewer pods of its group: those of one owner, or with the same labels.
Source: kube-scheduler's plugins/podtopologyspread.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from controlplane.scheduler import arrays as np
from controlplane.scheduler.arrays import Floats, Mask
from controlplane.scheduler.clusterevent import ClusterEvent
from controlplane.scheduler.plugins.normalize import fewest_is_best, fewest_of_most
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.spread import SpreadConstraint
from controlplane.scheduler.table import NodeTable
from pinnace.wellknown import LABEL_HOSTNAME

UNEVEN = "node(s) didn't match pod topology spread constraints"
NO_LABEL = f"{UNEVEN} (missing required label)"


class PodTopologySpread:
    name = "PodTopologySpread"
    weight = 2.0
    # Pods elsewhere raise the smallest domain.
    wide = True
    resolvable = True
    events = (
        ClusterEvent.ASSIGNED_POD_ADD
        | ClusterEvent.ASSIGNED_POD_DELETE
        | ClusterEvent.UPDATE_NODE_LABEL
        | ClusterEvent.UPDATE_NODE_TAINT
        | ClusterEvent.NODE_DELETE
    )

    def rejects(self, pod: PodInfo, table: NodeTable, rows: slice) -> Mask | None:
        rejected: Mask | None = None
        for mask in self.reasons(pod, table, rows).values():
            rejected = mask if rejected is None else rejected | mask
        return rejected

    def reasons(self, pod: PodInfo, table: NodeTable, rows: slice) -> dict[str, Mask]:
        """A node is rejected for the first constraint that it does not meet."""
        hard = [item for item in pod.spread if item.hard]
        if not hard:
            return {}
        capacity = len(table.alive)
        found = {NO_LABEL: np.zeros(capacity, dtype=np.bool_), UNEVEN: np.zeros(capacity, dtype=np.bool_)}
        left, labelled = np.ones(capacity, dtype=np.bool_), _labelled(hard, table)
        for item in hard:
            numbers = table.labels.of(item.key).numbers
            for reason, mask in ((NO_LABEL, numbers == 0), (UNEVEN, _exceeds(pod, item, labelled, table))):
                found[reason] |= mask & left
                left &= ~mask
        return {reason: mask[rows] for reason, mask in found.items() if mask[rows].any()}

    def scores(self, pod: PodInfo, table: NodeTable, rows: slice, fits: Mask) -> Floats | None:
        if not pod.spread:
            counts = table.groups.of(pod.group)
            return None if counts is None else fewest_is_best(counts[rows], fits)
        soft = [item for item in pod.spread if not item.hard]
        labelled = _labelled(soft, table)
        judged = fits & labelled[rows]
        if not soft or not judged.any():
            return None
        sums = np.zeros(len(fits), dtype=np.float64)
        for item in soft:
            sums += _share(pod, item, labelled, table, rows, judged)
        return fewest_of_most(sums, judged)


def _labelled(constraints: Iterable[SpreadConstraint], table: NodeTable) -> Mask:
    """The rows with all topology keys; only their pods count."""
    found = table.alive.copy()
    for item in constraints:
        found &= table.labels.of(item.key).numbers > 0
    return found


def _included(pod: PodInfo, item: SpreadConstraint, labelled: Mask, table: NodeTable) -> Mask:
    """Of these rows, those that the constraint's policies do not leave out."""
    found = labelled
    if item.affinity and (pod.node_selector or pod.node_terms is not None):
        found = found & table.labels.matching(pod.node_selector, pod.node_terms)
    if item.taints:
        verdicts = table.taint_sets.verdicts(pod.tolerations)
        found = found & ~verdicts.blocking[table.taint_set]
        if verdicts.cordoned:
            found = found & ~table.unschedulable
    return found


def _exceeds(pod: PodInfo, item: SpreadConstraint, labelled: Mask, table: NodeTable) -> Mask:
    """The rows whose domain would have more pods than the smallest domain and the skew allow."""
    column = table.labels.of(item.key)
    included = _included(pod, item, labelled, table)
    numbers = np.where(included, column.numbers, 0)
    counts = table.pods.by_domain(item.selector, numbers, len(column.values))
    counts[0] = 0
    domains = np.bincount(numbers, minlength=len(column.values))[1:] > 0
    count = int(np.count_nonzero(domains))
    smallest = float(counts[1:].min(where=domains, initial=math.inf)) if count and count >= item.min_domains else 0.0
    itself = int(item.selector.matches(pod.labels, table.pods.namespaces))
    exceeds: Mask = (counts + itself - smallest > item.max_skew)[column.numbers]
    return exceeds


def _share(pod: PodInfo, item: SpreadConstraint, labelled: Mask, table: NodeTable, rows: slice, judged: Mask) -> Floats:
    """What a constraint adds to each row's sum. Fewer domains have a lower weight, since each has more pods."""
    column = table.labels.of(item.key)
    if item.key == LABEL_HOSTNAME:
        # The pods of the node itself, whatever the policies.
        included, domains = labelled, int(np.count_nonzero(judged))
    else:
        included = _included(pod, item, labelled, table)
        domains = len(np.unique(column.numbers[rows][judged]))
    numbers = np.where(included, column.numbers, 0)
    counts = table.pods.by_domain(item.selector, numbers, len(column.values))
    counts[0] = 0
    share: Floats = counts[column.numbers[rows]] * math.log(domains + 2) + (item.max_skew - 1)
    return share
