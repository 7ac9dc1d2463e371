"""The simple model of affinity between pods and of topology spread: loops over every pod on every node, as the rules are written.

Source: Kubernetes' concept pages on assigning pods to nodes and on topology spread constraints, and kube-scheduler's scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from controlplane.scheduler.nodeinfo import NodeInfo
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.podselectors import PodSelector, PodTerm
from controlplane.scheduler.spread import SpreadConstraint
from pinnace.taints import tolerates

HOSTNAME = "kubernetes.io/hostname"


@dataclass(frozen=True, slots=True)
class Cluster:
    nodes: list[NodeInfo]
    placed: Mapping[str, list[PodInfo]]
    namespaces: Mapping[str, Mapping[str, str]]

    def pods(self) -> Iterable[tuple[NodeInfo, PodInfo]]:
        return [(node, pod) for node in self.nodes for pod in self.placed[node.name]]

    def means(self, selector: PodSelector, pod: PodInfo) -> bool:
        namespace, labels, terminating = pod.labels
        if terminating and not selector.terminating:
            return False
        for part in selector.parts:
            team = self.namespaces.get(namespace, {})
            chosen = part.namespace_selector is not None and all(item.matches(team) for item in part.namespace_selector)
            if part.requirements is None or not (namespace in part.namespaces or chosen):
                return False
            if not all(item.matches(dict(labels)) for item in part.requirements):
                return False
        return True


def domain(node: NodeInfo, key: str) -> str | None:
    return dict(node.labels).get(key)


def same_domain(one: NodeInfo, other: NodeInfo, key: str) -> bool:
    return domain(one, key) is not None and domain(one, key) == domain(other, key)


def affinity_reason(pod: PodInfo, node: NodeInfo, cluster: Cluster) -> str:
    """Empty where the node passes."""
    terms = pod.terms
    if terms is not None and terms.affinity and not _near(pod, node, terms.affinity, cluster):
        return "node(s) didn't match pod affinity rules"
    for term in terms.anti_affinity if terms is not None else ():
        if any(cluster.means(term.selector, other) and same_domain(node, there, term.key) for there, other in cluster.pods()):
            return "node(s) didn't match pod anti-affinity rules"
    for there, other in cluster.pods():
        for term in other.terms.anti_affinity if other.terms is not None else ():
            if cluster.means(term.selector, pod) and same_domain(node, there, term.key):
                return "node(s) didn't satisfy existing pods anti-affinity rules"
    return ""


def _near(pod: PodInfo, node: NodeInfo, terms: tuple[PodTerm, ...], cluster: Cluster) -> bool:
    def meant(other: PodInfo) -> bool:
        return all(cluster.means(term.selector, other) for term in terms)

    if any(domain(node, term.key) is None for term in terms):
        return False
    found = [there for there, other in cluster.pods() if meant(other)]
    if all(any(same_domain(node, there, term.key) for there in found) for term in terms):
        return True
    anywhere = any(domain(there, term.key) is not None for there in found for term in terms)
    return not anywhere and meant(pod)


def attraction(pod: PodInfo, node: NodeInfo, cluster: Cluster) -> int:
    """The sum of the weights of preferred terms, the pod's own and those of others; theirs that are required count one."""
    total = 0
    for there, other in cluster.pods():
        for weight, term in pod.terms.preferred if pod.terms is not None else ():
            if cluster.means(term.selector, other) and same_domain(node, there, term.key):
                total += weight
        if other.terms is None:
            continue
        for weight, term in [*((1, term) for term in other.terms.affinity), *other.terms.preferred]:
            if cluster.means(term.selector, pod) and same_domain(node, there, term.key):
                total += weight
    return total


def _included(pod: PodInfo, item: SpreadConstraint, every: list[SpreadConstraint], node: NodeInfo) -> bool:
    if any(domain(node, other.key) is None for other in every):
        return False
    if item.affinity:
        if not set(pod.node_selector) <= node.labels:
            return False
        if pod.node_terms is not None and not any(term.matches(node.name, dict(node.labels)) for term in pod.node_terms):
            return False
    if item.taints:
        taints: list[Any] = [taint for taint in node.taints if taint.effect in ("NoSchedule", "NoExecute")]
        if node.unschedulable:
            taints.append(_Cordon())
        return all(any(tolerates(toleration, taint) for toleration in pod.tolerations) for taint in taints)
    return True


@dataclass(frozen=True)
class _Cordon:
    key: str = "node.kubernetes.io/unschedulable"
    value: str = ""
    effect: str = "NoSchedule"


def _counts(pod: PodInfo, item: SpreadConstraint, every: list[SpreadConstraint], cluster: Cluster) -> dict[str, int]:
    """Matching pods by domain, over the nodes that count."""
    found: dict[str, int] = {}
    for node in cluster.nodes:
        value = domain(node, item.key)
        if value is not None and _included(pod, item, every, node):
            found[value] = found.get(value, 0) + sum(cluster.means(item.selector, other) for other in cluster.placed[node.name])
    return found


def spread_reason(pod: PodInfo, node: NodeInfo, cluster: Cluster) -> str:
    """Empty where the node passes."""
    hard = [item for item in pod.spread if item.hard]
    for item in hard:
        value = domain(node, item.key)
        if value is None:
            return "node(s) didn't match pod topology spread constraints (missing required label)"
        counts = _counts(pod, item, hard, cluster)
        smallest = min(counts.values()) if counts and len(counts) >= item.min_domains else 0
        if counts.get(value, 0) + cluster.means(item.selector, pod) - smallest > item.max_skew:
            return "node(s) didn't match pod topology spread constraints"
    return ""


def evenness(pod: PodInfo, fitting: list[NodeInfo], cluster: Cluster) -> dict[str, Fraction]:
    """Shares from 0 to 1 by node, for a pod with constraints."""
    soft = [item for item in pod.spread if not item.hard]
    if not soft:
        return {}
    judged = [node for node in fitting if all(domain(node, item.key) is not None for item in soft)]
    sums = dict.fromkeys((node.name for node in judged), Fraction(0))
    for item in soft:
        domains = len({domain(node, item.key) for node in judged})
        counts = _counts(pod, item, soft, cluster)
        for node in judged:
            if item.key == HOSTNAME:
                count = sum(cluster.means(item.selector, other) for other in cluster.placed[node.name])
            else:
                count = counts.get(str(domain(node, item.key)), 0)
            sums[node.name] += Fraction(count * math.log(domains + 2)) + item.max_skew - 1
    least, most = min(sums.values(), default=0), max(sums.values(), default=0)
    shares = {name: (most + least - value) / most if most else Fraction(1) for name, value in sums.items()}
    return {node.name: shares.get(node.name, Fraction(0)) for node in fitting}
