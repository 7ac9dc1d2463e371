"""Placement of one pod: a pure function of the pod and the node table. The same input gives the same node.

Ties between nodes go to the first by name, so that a run can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from controlplane.scheduler import arrays as np
from controlplane.scheduler.arrays import Floats, Mask
from controlplane.scheduler.plugins import Profile, default_profile, volumebinding
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import NodeTable
from controlplane.scheduler.volumes import VolumeStep

# Totals that differ by less are equal: the rounding of sums must not decide.
TIE = 1e-6


@dataclass(frozen=True, slots=True)
class Decision:
    """`pod` is on `node`, which is empty for a rejection; that has a message, the counts of rejected nodes by reason, and the
    filters that rejected them. `failed`: an error kept the pod from being placed. `feasible` of all `nodes` passed the filters.
    `volumes`: what is to be done for the pod's claims before it is bound to the node; None: nothing.
    """

    pod: PodInfo
    node: str = ""
    message: str = ""
    nodes: int = 0
    feasible: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    plugins: frozenset[str] = frozenset()
    failed: bool = False
    volumes: tuple[VolumeStep, ...] | None = None


def feasible(pod: PodInfo, table: NodeTable, profile: Profile, rows: slice) -> Mask:
    """The rows whose nodes pass every filter. The last filters cost most: they run while a row is left."""
    left = table.alive[rows].copy()
    for item in profile.filters:
        if not left.any():
            break
        rejected = item.rejects(pod, table, rows)
        if rejected is not None:
            left &= ~rejected
    return left


def prevented(pod: PodInfo, table: NodeTable, profile: Profile) -> tuple[str, str] | None:
    """The first filter of all nodes that rejects the pod, and its reason."""
    for item in profile.prefilters:
        reason = item.prevents(pod, table)
        if reason:
            return item.name, reason
    return None


def rejecting(pod: PodInfo, table: NodeTable, profile: Profile, rows: slice) -> frozenset[str] | None:
    """The names of all filters that reject some of the rows; None when one of the rows passes every filter."""
    if (found := prevented(pod, table, profile)) is not None:
        return frozenset(found[:1])
    left = table.alive[rows].copy()
    names: set[str] = set()
    for item in profile.filters:
        rejected = item.rejects(pod, table, rows)
        if rejected is not None and rejected.any():
            names.add(item.name)
            left &= ~rejected
    return None if left.any() else frozenset(names)


def totals(pod: PodInfo, table: NodeTable, profile: Profile, rows: slice, fits: Mask) -> Floats:
    """The weighted sum of all scores by row, for comparison of the rows that fit."""
    total = np.zeros(len(fits), dtype=np.float64)
    for item in profile.scores:
        rated = item.scores(pod, table, rows, fits)
        # Equal scores of all nodes decide nothing.
        if rated is not None:
            total += rated * item.weight
    return total


def place_one(pod: PodInfo, table: NodeTable, profile: Profile) -> Decision:
    """Decide on one pod; the table is not changed."""
    if (found := prevented(pod, table, profile)) is not None:
        return _prevention(pod, table, *found)
    fits = feasible(pod, table, profile, table.rows)
    count = int(np.count_nonzero(fits))
    if not count:
        return _rejection(pod, table, profile)
    total = np.where(fits, totals(pod, table, profile, table.rows, fits), -1.0)
    best = total >= total.max() - TIE
    row = int(np.where(best, table.rank[table.rows], len(table)).argmin())
    node = table.names[row]
    return Decision(pod.on(node), node, nodes=len(table), feasible=count, volumes=volumebinding.steps(pod, table, row))


def place(pods: Iterable[PodInfo], table: NodeTable, profile: Profile | None = None) -> list[Decision]:
    """Decide on pods in order of priority, age and name, counting each in the table before the next."""
    profile = profile or default_profile()
    decisions: list[Decision] = []
    for pod in sorted(pods, key=lambda pod: pod.order):
        decision = place_one(pod, table, profile)
        if decision.node:
            table.add_pod(decision.pod)
        decisions.append(decision)
    return decisions


def _prevention(pod: PodInfo, table: NodeTable, plugin: str, reason: str) -> Decision:
    """As in Kubernetes the reason stands without a number of nodes."""
    nodes = len(table)
    message = f"0/{nodes} nodes are available: {reason}." if nodes else summary({}, 0)
    return Decision(pod, "", message, nodes=nodes, rejected={reason: nodes}, plugins=frozenset((plugin,)))


def _rejection(pod: PodInfo, table: NodeTable, profile: Profile) -> Decision:
    """As in Kubernetes filtering of a node stops at the first filter that rejects it, with all reasons of that filter."""
    left, rows = table.alive[table.rows].copy(), table.rows
    rejected: dict[str, int] = {}
    plugins: set[str] = set()
    for item in profile.filters:
        reasons = item.reasons(pod, table, rows)
        for reason, mask in reasons.items():
            count = int(np.count_nonzero(mask & left))
            if count:
                rejected[reason] = rejected.get(reason, 0) + count
                plugins.add(item.name)
        for mask in reasons.values():
            left &= ~mask
    message = summary(rejected, len(table))
    return Decision(pod, "", message, nodes=len(table), rejected=rejected, plugins=frozenset(plugins))


def summary(rejected: dict[str, int], nodes: int) -> str:
    """`0/5 nodes are available: 2 Insufficient memory, 3 node(s) had untolerated taint {k: v}.`"""
    if nodes == 0:
        return "no nodes available to schedule pods"
    # Sorted as text, as Kubernetes does.
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in rejected.items()))
    return f"0/{nodes} nodes are available: {listed}."
