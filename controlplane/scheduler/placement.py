"""Placement: pods and a node table in, decisions out. Pure, and the same for the same input.

Pods go in order of priority, then age, then name; each sees those placed before it. Ties between nodes go to the
first by name among the best, so that a run can be repeated.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from controlplane.scheduler.plugins import Filter, Score, default_filters, default_scores
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import NodeTable


@dataclass(frozen=True, slots=True)
class Decision:
    """`node` is empty for a refusal. `refusals` is node to reasons, `scores` node to plugin to weighted score."""

    pod: PodInfo
    node: str
    message: str
    refusals: dict[str, tuple[str, ...]] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)


def place(
    pods: list[PodInfo],
    table: NodeTable,
    *,
    filters: tuple[Filter, ...] | None = None,
    scores: tuple[Score, ...] | None = None,
) -> list[Decision]:
    """A decision for each pod. `table` is the caller's to give up: placed pods are counted into it."""
    filters = default_filters() if filters is None else filters
    scores = default_scores() if scores is None else scores
    ordered = sorted(pods, key=lambda pod: (-pod.priority, pod.created, pod.key))
    return [_place_one(pod, table, filters, scores) for pod in ordered]


def _place_one(pod: PodInfo, table: NodeTable, filters: tuple[Filter, ...], scores: tuple[Score, ...]) -> Decision:
    refused: dict[int, list[str]] = {}
    feasible = np.ones(len(table), dtype=np.bool_)
    for item in filters:
        for reason, mask in item.refusals(pod, table).items():
            # As in Kubernetes a node is refused by the first filter that minds, with all of that filter's reasons.
            for found in np.flatnonzero(mask & feasible):
                refused.setdefault(int(found), []).append(reason)
        for index in refused:
            feasible[index] = False
    named = {table.names[index]: tuple(reasons) for index, reasons in refused.items()}
    if not feasible.any():
        return Decision(pod, "", summary(named, len(table)), named)
    rated = {item.name: item.scores(pod, table) * item.weight for item in scores}
    total = np.where(feasible, np.sum(list(rated.values()), axis=0), -1.0)
    best = int(np.argmax(total))
    table.place(pod, best)
    shown = {
        table.names[index]: {name: round(float(values[index]), 1) for name, values in rated.items()}
        for index in np.flatnonzero(feasible)
    }
    return Decision(pod, table.names[best], "", named, shown)


def summary(refusals: dict[str, tuple[str, ...]], nodes: int) -> str:
    """`0/5 nodes are available: 2 Insufficient memory, 3 node(s) had untolerated taint {k: v}.`"""
    if nodes == 0:
        return "no nodes available to schedule pods"
    counts = Counter(reason for reasons in refusals.values() for reason in reasons)
    # Sorted as text, as Kubernetes does.
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))
    return f"0/{nodes} nodes are available: {listed}."
