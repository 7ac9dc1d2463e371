"""Rejects nodes that the pod's nodeSelector or required node affinity does not match; prefers those of its preferred terms."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.scheduler import arrays as np
from controlplane.scheduler.arrays import Floats, Mask
from controlplane.scheduler.clusterevent import ClusterEvent
from controlplane.scheduler.plugins.normalize import most_is_best
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import NodeTable
from pinnace import labelselectors, nodeselectors
from pinnace.nodeselectors import Term
from pinnace.selectors import Requirement

REASON = "node(s) didn't match Pod's node affinity/selector"
# Requirements that a node's explanation names.
MAX_NAMED = 5


class NodeAffinity:
    name = "NodeAffinity"
    weight = 2.0
    wide = False
    resolvable = False
    events = ClusterEvent.UPDATE_NODE_LABEL

    def rejects(self, pod: PodInfo, table: NodeTable, rows: slice) -> Mask | None:
        if not pod.node_selector and pod.node_terms is None:
            return None
        rejected: Mask = ~table.labels.matching(pod.node_selector, pod.node_terms)[rows]
        return rejected

    def reasons(self, pod: PodInfo, table: NodeTable, rows: slice) -> dict[str, Mask]:
        rejected = self.rejects(pod, table, rows)
        return {} if rejected is None else {REASON: rejected}

    def detail(self, pod: PodInfo, table: NodeTable, row: int) -> str:
        """The requirements that a rejected node does not meet: labels of nodeSelector, or of each term the first."""
        name, labels = table.names[row], table.labels.at(row)
        pairs = [Requirement(key, "In", (value,)) for key, value in pod.node_selector]
        failing = [item for item in pairs if not item.matches(labels)]
        failing = failing or [item for term in pod.node_terms or () for item in _first_unmet(term, name, labels)]
        return "; ".join(_unmet(item, {nodeselectors.NAME: name, **labels}) for item in failing[:MAX_NAMED])

    def scores(self, pod: PodInfo, table: NodeTable, rows: slice, fits: Mask) -> Floats | None:
        """By the sum of the weights of matching terms."""
        if not pod.preferred_nodes:
            return None
        sums = np.zeros(len(fits), dtype=np.float64)
        for weight, term in pod.preferred_nodes:
            sums += weight * table.labels.matching((), (term,))[rows]
        return most_is_best(sums, fits)


def _first_unmet(term: Term, name: str, labels: Mapping[str, str]) -> list[Requirement]:
    unmet = [item for item in term.fields if not item.matches({nodeselectors.NAME: name})]
    unmet += [item for item in term.expressions if not item.matches(labels)]
    return unmet[:1]


def _unmet(item: Requirement, values: Mapping[str, str]) -> str:
    present = f"{item.key}={values[item.key]}" if item.key in values else f"no {item.key}"
    return f"wants {labelselectors.requirement_text(item)}, has {present}"
