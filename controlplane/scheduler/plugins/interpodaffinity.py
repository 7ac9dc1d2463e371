"""Rejects nodes by required terms about pods in the node's domain: the pod's own, and the anti-affinity of pods that are there.
Prefers by the weights of preferred terms, in both directions too.

A pod without such terms pays for the terms that mean it, found by its labels, and not for the others.
Source: kube-scheduler's plugins/interpodaffinity.
"""

from __future__ import annotations

from controlplane.scheduler import arrays as np
from controlplane.scheduler.arrays import Floats, Mask
from controlplane.scheduler.clusterevent import ClusterEvent
from controlplane.scheduler.plugins.normalize import least_to_most
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.podselectors import PodSelector, PodTerm
from controlplane.scheduler.podterms import HeldTerms
from controlplane.scheduler.table import NodeTable

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING = "node(s) didn't satisfy existing pods anti-affinity rules"


class InterPodAffinity:
    name = "InterPodAffinity"
    weight = 2.0
    # A pod near others, or one that is apart from them, is helped on every node of a domain.
    wide = True
    resolvable = True
    events = (
        ClusterEvent.ASSIGNED_POD_ADD
        | ClusterEvent.ASSIGNED_POD_DELETE
        | ClusterEvent.UPDATE_NODE_LABEL
        | ClusterEvent.NODE_DELETE
        | ClusterEvent.UPDATE_NAMESPACE_LABEL
    )

    def rejects(self, pod: PodInfo, table: NodeTable, rows: slice) -> Mask | None:
        rejected: Mask | None = None
        for mask in self.reasons(pod, table, rows).values():
            rejected = mask if rejected is None else rejected | mask
        return rejected

    def reasons(self, pod: PodInfo, table: NodeTable, rows: slice) -> dict[str, Mask]:
        """A node is rejected for the first of these."""
        if pod.terms is None and not table.anti_affinity:
            return {}
        found: dict[str, Mask] = {}
        if pod.terms is not None and pod.terms.affinity:
            found[AFFINITY] = ~_near(pod, pod.terms.affinity, table)[rows]
        if pod.terms is not None and pod.terms.anti_affinity:
            found[ANTI_AFFINITY] = _in_domains(pod.terms.anti_affinity, table)[rows]
        if table.anti_affinity:
            sums = _sums(pod, table.anti_affinity, table)
            if sums is not None:
                found[EXISTING] = sums[rows] > 0
        left = np.ones(len(table.alive[rows]), dtype=np.bool_)
        for mask in found.values():
            mask &= left
            left &= ~mask
        return found

    def scores(self, pod: PodInfo, table: NodeTable, rows: slice, fits: Mask) -> Floats | None:
        sums = _sums(pod, table.attraction, table) if table.attraction else None
        for weight, term in pod.terms.preferred if pod.terms is not None else ():
            column = table.labels.of(term.key)
            counts = table.pods.by_domain(term.selector, column.numbers, len(column.values))
            counts[0] = 0
            found: Floats = weight * counts[column.numbers]
            sums = found if sums is None else sums + found
        return None if sums is None else least_to_most(sums[rows], fits)


def _near(pod: PodInfo, terms: tuple[PodTerm, ...], table: NodeTable) -> Mask:
    """The rows with a pod that all terms mean in the domain of each; for the first such pod, any that have these domains."""
    together = PodSelector(tuple(part for term in terms for part in term.selector.parts))
    near = placed = np.ones(len(table.alive), dtype=np.bool_)
    some = False
    for key in {term.key for term in terms}:
        column = table.labels.of(key)
        counts = table.pods.by_domain(together, column.numbers, len(column.values))
        counts[0] = 0
        some = some or bool(counts.any())
        near = near & (counts > 0)[column.numbers]
        placed = placed & (column.numbers > 0)
    return near if some or not together.matches(pod.labels, table.pods.namespaces) else placed


def _in_domains(terms: tuple[PodTerm, ...], table: NodeTable) -> Mask:
    """The rows in a domain with a pod that one of the terms means."""
    found = np.zeros(len(table.alive), dtype=np.bool_)
    for term in terms:
        column = table.labels.of(term.key)
        counts = table.pods.by_domain(term.selector, column.numbers, len(column.values))
        counts[0] = 0
        found |= (counts > 0)[column.numbers]
    return found


def _sums(pod: PodInfo, held: HeldTerms, table: NodeTable) -> Floats | None:
    """By row, the weights of the terms that pods in its domain hold and that mean this pod; None without any."""
    sums: Floats | None = None
    for key, numbers in held.matching(pod.labels, table.pods.namespaces).items():
        column = table.labels.of(key)
        weights = np.zeros(len(column.values), dtype=np.float64)
        for number in numbers:
            weights += held.counts.by_number(number, column.numbers, len(column.values))
        weights[0] = 0
        found = weights[column.numbers]
        sums = found if sums is None else sums + found
    return sums
