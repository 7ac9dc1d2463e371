"""The affinity terms of pods: those of a pod that is to be placed, and those that pods in the table hold about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from controlplane.scheduler.podselectors import Namespaces, PodLabels, PodTerm, SelectorIndex, term
from controlplane.scheduler.rowcounts import RowCounts
from pinnace.core.v1.scheduling_pb2 import Affinity

# The weight of a required term of a pod in the table for the pods that it means (HardPodAffinityWeight).
REQUIRED_WEIGHT = 1


@dataclass(frozen=True, slots=True)
class PodTerms:
    """Terms of one pod. `preferred` have weights, negative ones of anti-affinity."""

    affinity: tuple[PodTerm, ...] = ()
    anti_affinity: tuple[PodTerm, ...] = ()
    preferred: tuple[tuple[int, PodTerm], ...] = ()

    @property
    def weighted(self) -> Iterator[tuple[int, PodTerm]]:
        """The terms that raise or lower the scores of other pods."""
        yield from ((REQUIRED_WEIGHT, item) for item in self.affinity)
        yield from self.preferred


def read(message: Affinity, namespace: str) -> PodTerms | None:
    """The terms of a pod in a namespace; None for a pod without any."""
    near, apart = message.podAffinity, message.podAntiAffinity
    preferred = [*_weighted(near, namespace, 1), *_weighted(apart, namespace, -1)]
    found = PodTerms(_required(near, namespace), _required(apart, namespace), tuple(preferred))
    return found if found != PodTerms() else None


def _required(message: Any, namespace: str) -> tuple[PodTerm, ...]:
    return tuple(term(item, namespace) for item in message.requiredDuringSchedulingIgnoredDuringExecution)


def _weighted(message: Any, namespace: str, sign: int) -> Iterable[tuple[int, PodTerm]]:
    for item in message.preferredDuringSchedulingIgnoredDuringExecution:
        yield sign * item.weight, term(item.podAffinityTerm, namespace)


@dataclass(slots=True)
class _Held:
    """A term that pods in the table have, how many."""

    number: int
    uses: int = 0


@dataclass(slots=True)
class HeldTerms:
    """Terms of the pods in the table, with sums of their weights by row."""

    counts: RowCounts
    _index: SelectorIndex = field(default_factory=SelectorIndex)
    _held: dict[PodTerm, _Held] = field(default_factory=dict)
    _terms: dict[int, PodTerm] = field(default_factory=dict)
    _next: int = 0

    def __bool__(self) -> bool:
        return bool(self._held)

    def count(self, item: PodTerm, row: int, weight: int, sign: int) -> None:
        """Count the term of one pod with its weight; `sign` -1 to count it out."""
        held = self._held.get(item)
        if held is None:
            held = self._held[item] = _Held(self._next)
            self._terms[self._next] = item
            self._index.add(self._next, item.selector)
            self._next += 1
        held.uses += sign
        self.counts.add(held.number, row, sign * weight)
        if not held.uses:
            del self._held[item], self._terms[held.number]
            self._index.remove(held.number, item.selector)

    def matching(self, pod: PodLabels, namespaces: Namespaces) -> dict[str, list[int]]:
        """The numbers of the terms that mean a pod, by topology key."""
        found: dict[str, list[int]] = {}
        for number in self._index.matching(pod, namespaces):
            found.setdefault(self._terms[number].key, []).append(number)
        return found

    def snapshot(self) -> dict[PodTerm, Mapping[int, int]]:
        """All terms with their weights by row, for comparison in tests."""
        return {item: self.counts.rows(held.number) for item, held in self._held.items()}
