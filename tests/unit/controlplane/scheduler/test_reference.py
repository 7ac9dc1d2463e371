"""Placement agrees with a simple one that looks at one node after the other, and never raises."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.scheduler import arrays, explain, nodeinfo, podinfo
from controlplane.scheduler.arrays import Mask
from controlplane.scheduler.nodeinfo import NodeInfo
from controlplane.scheduler.placement import TIE, feasible, place, place_one
from controlplane.scheduler.plugins import Score, default_profile
from controlplane.scheduler.plugins.interpodaffinity import InterPodAffinity
from controlplane.scheduler.plugins.podtopologyspread import PodTopologySpread
from controlplane.scheduler.podinfo import RESOURCES, PodInfo
from controlplane.scheduler.podselectors import PodLabels
from controlplane.scheduler.table import MINIMUM, NodeTable
from controlplane.scheduler.taintsets import UNSCHEDULABLE
from pinnace import hostports, kinds
from pinnace.nodeselectors import Term
from pinnace.taints import tolerates
from tests.support.objects import container, make, node, pod
from tests.unit.controlplane.scheduler import clusters, domains

PROFILE = default_profile()


def reasons(pod: PodInfo, info: NodeInfo, cluster: domains.Cluster) -> list[str]:
    """The reasons of the first filter that rejects a node, in Kubernetes' words."""

    there = cluster.placed[info.name]

    def untolerated(taint: Any) -> bool:
        return not any(tolerates(item, taint) for item in pod.tolerations)

    if info.unschedulable and untolerated(UNSCHEDULABLE):
        return ["node(s) were unschedulable"]
    for taint in info.taints:
        if taint.effect != "PreferNoSchedule" and untolerated(taint):
            return [f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"]
    if not set(pod.node_selector) <= info.labels or not (pod.node_terms is None or any(matches(pod.node_terms, info))):
        return ["node(s) didn't match Pod's node affinity/selector"]
    if hostports.conflict(pod.host_ports, [port for other in there for port in other.host_ports]):
        return ["node(s) didn't have free ports for the requested pod ports"]
    free = [info.allocatable[i] - sum(other.requests[i] for other in there) for i in range(len(RESOURCES))]
    short = [name for i, name in enumerate(RESOURCES) if pod.requests[i] > 0 and free[i] < pod.requests[i]]
    if short:
        return ["Too many pods" if name == "pods" else f"Insufficient {name}" for name in short]
    reason = domains.spread_reason(pod, info, cluster) or domains.affinity_reason(pod, info, cluster)
    return [reason] if reason else []


def matches(terms: Iterable[Term], info: NodeInfo) -> list[bool]:
    """Whether each of the terms matches a node."""
    return [term.matches(info.name, dict(info.labels)) for term in terms]


def score(pod: PodInfo, info: NodeInfo, cluster: domains.Cluster, fitting: list[NodeInfo]) -> Fraction:
    """The exact sum of weighted scores, which compare the nodes that fit."""
    there = cluster.placed[info.name]
    idle = []
    for i in range(2):
        used = max(sum(other.requests[i] for other in there), len(there) * MINIMUM[i]) + max(pod.requests[i], MINIMUM[i])
        idle.append(max(0, 1 - Fraction(used, info.allocatable[i])) if info.allocatable[i] else 0)
    same = {item.name: sum(other.group == pod.group for other in cluster.placed[item.name]) for item in fitting}

    def avoided(item: NodeInfo) -> int:
        soft = [taint for taint in item.taints if taint.effect == "PreferNoSchedule"]
        return sum(not any(tolerates(toleration, taint) for toleration in pod.tolerations) for taint in soft)

    def wanted(item: NodeInfo) -> int:
        found = matches([term for _, term in pod.preferred_nodes], item)
        return sum(weight for (weight, _), hit in zip(pod.preferred_nodes, found, strict=True) if hit)

    most, shyest, best = (
        max(found) for found in zip(*((same[item.name], avoided(item), wanted(item)) for item in fitting), strict=True)
    )
    if pod.spread:
        spread = domains.evenness(pod, fitting, cluster).get(info.name, Fraction(0))
    else:
        spread = 1 - Fraction(same[info.name], most) if most else Fraction(1)
    sums = {item.name: domains.attraction(pod, item, cluster) for item in fitting}
    least, furthest = min(sums.values()), max(sums.values())
    company = Fraction(sums[info.name] - least, furthest - least) if furthest > least else 0
    welcome = 1 - Fraction(avoided(info), shyest) if shyest else 1
    attraction = Fraction(wanted(info), best) if best else 0
    return 50 * (Fraction(idle[0]) + Fraction(idle[1])) + 200 * spread + 300 * welcome + 200 * attraction + 200 * company


@given(
    st.lists(clusters.nodes, max_size=5, unique_by=lambda info: info.name),
    st.lists(clusters.pods(clusters.NODES), max_size=4, unique_by=lambda info: info.key),
    st.lists(clusters.pods(("",)), max_size=4, unique_by=lambda info: info.key),
)
def test_placement_agrees_with_a_simple_one(nodes: list[NodeInfo], there: list[PodInfo], waiting: list[PodInfo]) -> None:
    """The same nodes are rejected for the same reasons, and no feasible node would have been better."""
    table = NodeTable()
    for name, labels in clusters.NAMESPACES.items():
        table.pods.set_namespace(name, labels)
    for info in nodes:
        table.set_node(info)
    placed: dict[str, list[PodInfo]] = {name: [] for name in clusters.NODES}
    for item in there:
        table.add_pod(item)
        placed[item.node].append(item)
    cluster = domains.Cluster(nodes, placed, clusters.NAMESPACES)
    fresh = [item for item in waiting if table.pod(item.key) is None]
    decided = iter(place(fresh, table))
    for subject in sorted(fresh, key=lambda item: (-item.priority, item.created, item.key)):
        decision = next(decided)
        assert decision.pod == subject.on(decision.node)
        why = {info.name: reasons(subject, info, cluster) for info in nodes}
        fitting = [info for info in nodes if not why[info.name]]
        if not decision.node:
            assert not fitting
            assert decision.rejected == Counter(reason for texts in why.values() for reason in texts)
            continue
        scores = {info.name: score(subject, info, cluster, fitting) for info in fitting}
        assert decision.feasible == len(fitting)
        assert decision.node == min(name for name, value in scores.items() if float(max(scores.values()) - value) < TIE)
        placed[decision.node].append(subject)


@settings(max_examples=300)
@given(
    st.lists(clusters.roomy_nodes, min_size=2, max_size=5, unique_by=lambda info: info.name),
    st.lists(clusters.social_pods, max_size=10, unique_by=lambda info: info.key),
    clusters.social_pods.map(lambda info: dataclasses.replace(info, key="default/waiting", node="")),
)
def test_pods_of_a_domain_count_as_in_a_simple_model(nodes: list[NodeInfo], there: list[PodInfo], waiting: PodInfo) -> None:
    """Of affinity between pods and of topology spread: the reason and the score of each node."""
    table = NodeTable(1)
    for name, labels in clusters.NAMESPACES.items():
        table.pods.set_namespace(name, labels)
    placed: dict[str, list[PodInfo]] = {name: [] for name in clusters.NODES}
    for info in nodes:
        table.set_node(info)
    for item in there:
        table.add_pod(item)
        placed[item.node].append(item)
    cluster, fits = domains.Cluster(nodes, placed, clusters.NAMESPACES), table.alive[table.rows].copy()
    for plugin, model in ((PodTopologySpread(), domains.spread_reason), (InterPodAffinity(), domains.affinity_reason)):
        found = {
            table.names[row]: reason
            for reason, mask in plugin.reasons(waiting, table, table.rows).items()
            for row in arrays.flatnonzero(mask)
        }
        why = {info.name: model(waiting, info, cluster) for info in nodes}
        assert found == {name: reason for name, reason in why.items() if reason}
    sums = {info.name: domains.attraction(waiting, info, cluster) for info in nodes}
    assert _scores(InterPodAffinity(), waiting, table, fits) == pytest.approx(_spread_out(sums))
    if any(not item.hard for item in waiting.spread):
        even = {name: float(100 * share) for name, share in domains.evenness(waiting, nodes, cluster).items()}
        assert _scores(PodTopologySpread(), waiting, table, fits) == pytest.approx(even)


def _scores(plugin: Score, pod: PodInfo, table: NodeTable, fits: Mask) -> dict[str, float]:
    rated = plugin.scores(pod, table, table.rows, fits)
    return {name: 0.0 if rated is None else float(rated[table.row(name)]) for name in table.names if name}


def _spread_out(sums: dict[str, int]) -> dict[str, float]:
    least, most = min(sums.values()), max(sums.values())
    return {name: 100 * (value - least) / (most - least) if most > least else 0.0 for name, value in sums.items()}


QUANTITIES = st.sampled_from((
    "0", "-1", "1m", "16Ei", "1e17", "1e300", "1e999", "-1e999", "1e-999", "9223372036854775807", "9223372036854775808",
    "999999999999999999999Ei", "NaN", "inf", "", "garbage", "1Gi1", "٣", "0x10", "1e", "+", "." * 70,
))  # fmt: skip
LISTS = st.dictionaries(st.sampled_from((*RESOURCES, "hugepages-2Mi", "")), QUANTITIES, max_size=4)


def set_amounts(field: Any, amounts: dict[str, str]) -> None:
    """Past all validation, as a store may hold it."""
    for name, text in amounts.items():
        field[name].string = text


@given(
    st.lists(LISTS, min_size=1, max_size=3), st.lists(LISTS, min_size=1, max_size=5),
    st.integers(-(1 << 31), (1 << 31) - 1), st.integers(-(1 << 63), (1 << 63) - 1),
)  # fmt: skip
def test_numbers_at_every_limit_never_raise(
    allocatable: list[dict[str, str]], requests: list[dict[str, str]], priority: int, created: int
) -> None:
    """Nodes and pods with any amounts are read, placed, counted in and out, and explained."""
    table = NodeTable()
    for number, amounts in enumerate(allocatable):
        message = node(f"n{number}")
        message.status.ClearField("allocatable")
        set_amounts(message.status.allocatable, amounts)
        table.set_node(nodeinfo.read(message))
    for number, amounts in enumerate(requests):
        message = pod(f"p{number}", "a", "b", init=("i",), priority=priority)
        message.metadata.creationTimestamp.seconds = created
        for item in (*message.spec.containers, *message.spec.initContainers):
            set_amounts(item.resources.requests, amounts)
        set_amounts(message.spec.overhead, amounts)
        info = podinfo.read(message)
        fits = feasible(info, table, PROFILE, table.rows)
        decision = place_one(info, table, PROFILE)
        assert bool(decision.node) == bool(fits.any())
        explain.verdicts(info, table, PROFILE)
        table.add_pod(info.on("n0"))
        table.add_pod(info.on("n1"))
    assert all((column <= podinfo.LIMIT).all() for column in table.free)
    assert all((column >= -podinfo.LIMIT).all() for column in table.free)


def test_a_pod_that_cannot_be_read_says_why() -> None:
    """It still counts as a pod where it runs."""
    message = pod("web", container(), meta={"labels": {"app": "web"}})
    message.spec.nodeName = "n1"
    message.spec.containers[0].resources.requests["memory"].string = "lots"
    info = podinfo.read(message)
    assert (info.key, info.node, info.requests) == ("default/web", "n1", (0, 0, 0, 1))
    assert "lots" in info.invalid
    assert info.labels == PodLabels("default", (("app", "web"),))


def test_a_node_with_a_garbage_amount_is_used_without_it() -> None:
    """The amount counts as zero, and the node keeps its others."""
    message = node("n1")
    message.status.allocatable["ephemeral-storage"].string = "much"
    info = nodeinfo.read(message)
    assert info.allocatable == (4000, 8 << 30, 0, 110)
    assert "status.allocatable[ephemeral-storage]" in info.invalid
    assert "much" in info.invalid
    assert not nodeinfo.read(make(kinds.NODE, "n2")).invalid
