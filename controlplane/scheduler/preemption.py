"""Which pods of lower priority make room for a pod that fits nowhere, and on which node. Pure: the table is left as it was.

On each node as few pods as possible go: all of lower priority are counted out, and those that may stay are counted in again,
the most important first. Source: kube-scheduler's plugins/defaultpreemption and framework/preemption.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from controlplane.scheduler import arrays as np
from controlplane.scheduler.placement import feasible, prevented
from controlplane.scheduler.plugins import Profile
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import NodeTable
from pinnace import labelselectors
from pinnace.policy.v1.policy_pb2 import PodDisruptionBudget
from pinnace.selectors import Requirement

# Nodes that are compared for one pod; those of them on which removing pods is tried, and more while that helps on none.
MAX_NODES, MAX_TRIED, MAX_IN_VAIN = 500, 25, 100
# Checks of whether the pod fits, for one preemption: no other pod is placed meanwhile. A check of a pod with
# that many terms and constraints counts twice, with twice as many three times. The node that exceeds it is the last one.
MAX_CHECKS, TERMS_OF_ONE = 1000, 20


@dataclass(frozen=True, slots=True)
class Preemption:
    """The pods to evict from a node for another."""

    node: str
    victims: tuple[PodInfo, ...]


@dataclass(frozen=True, slots=True)
class Budget:
    """What a PodDisruptionBudget allows. None as requirements select nothing."""

    namespace: str
    requirements: tuple[Requirement, ...] | None
    allowed: int
    disrupted: frozenset[str] = frozenset()

    def covers(self, pod: PodInfo) -> bool:
        """Whether an eviction of the pod counts; one that was evicted already does not count again."""
        if self.requirements is None or pod.labels.namespace != self.namespace:
            return False
        labels = dict(pod.labels.labels)
        return pod.key.partition("/")[2] not in self.disrupted and all(item.matches(labels) for item in self.requirements)


def budget(item: PodDisruptionBudget) -> Budget:
    selector = labelselectors.requirements(item.spec.selector) if item.spec.HasField("selector") else None
    disrupted = frozenset(item.status.disruptedPods)
    return Budget(item.metadata.namespace, selector, item.status.disruptionsAllowed, disrupted)


def preempt(pod: PodInfo, table: NodeTable, profile: Profile, budgets: Sequence[Budget]) -> Preemption | None:
    """The best node and its victims; None where removing pods helps on no node."""
    steps = search(pod, table, profile, budgets)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def search(
    pod: PodInfo, table: NodeTable, profile: Profile, budgets: Sequence[Budget]
) -> Generator[None, None, Preemption | None]:  # fmt: skip
    """`preempt` in steps of one node. The table may change between two of them: a node that was compared counts as it was."""
    if prevented(pod, table, profile) is not None:
        return None
    found: dict[tuple[int, ...], Preemption] = {}
    checks = _Checks(pod, table, profile)
    promising = _promising(pod, table, profile)
    yield
    for tried, node in enumerate(promising):
        if checks.made >= MAX_CHECKS or tried >= (MAX_TRIED if found else MAX_IN_VAIN):
            break
        if tried:
            yield
        victims = _victims(checks, node, budgets) if table.row(node) >= 0 else None
        if victims is not None and victims[0]:
            going, violations = victims
            found[_cost(going, violations, int(table.rank[table.row(node)]))] = Preemption(node, going)
    return found[min(found)] if found else None


def _cost(victims: tuple[PodInfo, ...], violations: int, rank: int) -> tuple[int, ...]:
    """Kubernetes' order: fewest violated budgets, lowest highest priority, lowest sum of them, fewest pods, youngest pods."""
    highest = max(item.priority for item in victims)
    oldest = min(item.created for item in victims if item.priority == highest)
    # The sum counts pods of negative priority too.
    total = sum(item.priority + (1 << 31) for item in victims)
    return violations, highest, total, len(victims), -oldest, rank


def _promising(pod: PodInfo, table: NodeTable, profile: Profile) -> list[str]:
    """Nodes that only pods keep from taking the pod, those first whose less important pods hold enough."""
    left = table.alive[table.rows].copy()
    for item in profile.filters:
        rejected = None if item.resolvable else item.rejects(pod, table, table.rows)
        if rejected is not None:
            left &= ~rejected
    rated: list[tuple[int, int, str]] = []
    for row in np.flatnonzero(left):
        if len(rated) == MAX_NODES:
            break
        name = table.names[int(row)]
        need = _need(sorted(_lower(pod, table, name), key=lambda item: item.priority), _missing(pod, table, int(row)))
        if need is not None:
            rated.append((*need, name))
    return [name for *_, name in sorted(rated)]


def _lower(pod: PodInfo, table: NodeTable, node: str) -> Iterator[PodInfo]:
    return (other for other in table.pods_on(node) if other.priority < pod.priority)


def _missing(pod: PodInfo, table: NodeTable, row: int) -> list[int]:
    """By resource, the amount that has to become free."""
    return [max(amount - int(table.free[column][row]), 0) if amount else 0 for column, amount in enumerate(pod.requests)]


def _need(lower: list[PodInfo], missing: list[int]) -> tuple[int, int] | None:
    """Priority and number of the least important pods that hold what is missing; None where all do not."""
    if not lower:
        return None
    for count, other in enumerate(lower, start=1):
        missing = [max(amount - held, 0) for amount, held in zip(missing, other.requests, strict=True)]
        if not any(missing):
            return other.priority, count
    return None


class _Checks:
    """Whether a pod fits on single nodes; `made` is the cost so far."""

    def __init__(self, pod: PodInfo, table: NodeTable, profile: Profile) -> None:
        self.pod = pod
        self.table = table
        self.made = 0
        self._profile = profile
        terms = 0 if pod.terms is None else len(pod.terms.affinity) + len(pod.terms.anti_affinity)
        self._cost = 1 + (terms + len(pod.spread)) // TERMS_OF_ONE

    def fits(self, row: int) -> bool:
        self.made += self._cost
        return bool(feasible(self.pod, self.table, self._profile, slice(row, row + 1)).any())


def _victims(checks: _Checks, node: str, budgets: Sequence[Budget]) -> tuple[tuple[PodInfo, ...], int] | None:
    """The pods that have to go, and how many of them violate a budget; None where the pod does not fit in any case."""
    table = checks.table
    lower = sorted(_lower(checks.pod, table, node), key=lambda item: (-item.priority, item.created, item.key))
    row = table.row(node)
    with _counted_out(table, lower):
        if not checks.fits(row):
            return None
        violating = _violating(lower, budgets)
        going: list[PodInfo] = []
        # Those that a budget protects are the first that may stay.
        for other in sorted(lower, key=lambda item: item.key not in violating):
            table.add_pod(other)
            if not checks.fits(row):
                table.remove_pod(other.key)
                going.append(other)
    ordered = tuple(item for item in lower if item in going)
    return ordered, sum(item.key in violating for item in ordered)


@contextmanager
def _counted_out(table: NodeTable, pods: Iterable[PodInfo]) -> Iterator[None]:
    """The pods are counted again afterwards, whatever happened."""
    removed = list(pods)
    try:
        for item in removed:
            table.remove_pod(item.key)
        yield
    finally:
        for item in removed:
            table.add_pod(item)


def _violating(pods: Iterable[PodInfo], budgets: Sequence[Budget]) -> frozenset[str]:
    """Keys of the pods whose eviction, after those before them, a budget does not allow."""
    left, found = [item.allowed for item in budgets], set[str]()
    for pod in pods:
        for index, item in enumerate(budgets):
            if item.covers(pod):
                left[index] -= 1
                if left[index] < 0:
                    found.add(pod.key)
    return frozenset(found)
