"""How many pods match a selector on each node, for selectors that pods to be placed have used lately.

Pods with the same labels are one set, and a set knows the selectors that match it: a pod that comes or goes changes the counts
of these and compares nothing. A selector that is new is compared with the sets that have one of its labels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controlplane.scheduler.arrays import Counts, Floats
from controlplane.scheduler.podselectors import PodLabels, PodSelector, SelectorIndex
from controlplane.scheduler.rowcounts import RowCounts

# Selectors whose counts are kept.
MAX_SELECTORS = 1024


@dataclass(slots=True, eq=False)
class _Set:
    """Pods with the same labels: how many on each row, and the numbers of the selectors that match them."""

    labels: PodLabels
    rows: dict[int, int] = field(default_factory=dict)
    selectors: set[int] = field(default_factory=set)


class PodCounts:
    def __init__(self, capacity: int) -> None:
        self.namespaces: dict[str, Mapping[str, str]] = {}
        self._counts = RowCounts(capacity)
        self._index = SelectorIndex()
        self._numbers: OrderedDict[PodSelector, int] = OrderedDict()
        self._members: dict[int, set[_Set]] = {}
        self._sets: dict[PodLabels, _Set] = {}
        self._by_label: dict[tuple[str, str], set[_Set]] = {}
        self._next = 0

    def add(self, labels: PodLabels, row: int, sign: int) -> None:
        """Count a pod on a row; `sign` -1 to count it out."""
        found = self._sets.get(labels) or self._new_set(labels)
        total = found.rows.get(row, 0) + sign
        if total:
            found.rows[row] = total
        else:
            del found.rows[row]
        for number in found.selectors:
            self._counts.add(number, row, sign)
        if not found.rows:
            self._drop_set(found)

    def _new_set(self, labels: PodLabels) -> _Set:
        found = self._sets[labels] = _Set(labels)
        for pair in labels.labels:
            self._by_label.setdefault(pair, set()).add(found)
        for number in self._index.matching(labels, self.namespaces):
            self._join(number, found)
        return found

    def _drop_set(self, item: _Set) -> None:
        del self._sets[item.labels]
        for pair in item.labels.labels:
            there = self._by_label[pair]
            there.discard(item)
            if not there:
                del self._by_label[pair]
        for number in item.selectors:
            self._members[number].discard(item)

    def _join(self, number: int, item: _Set) -> None:
        self._members[number].add(item)
        item.selectors.add(number)

    def number(self, selector: PodSelector) -> int:
        """The number under which a selector's counts are kept."""
        found = self._numbers.get(selector)
        if found is not None:
            self._numbers.move_to_end(selector)
            return found
        number = self._numbers[selector] = self._next
        self._next += 1
        self._members[number] = set()
        self._index.add(number, selector)
        for item in self._candidates(selector):
            if selector.matches(item.labels, self.namespaces):
                self._join(number, item)
                for row, count in item.rows.items():
                    self._counts.add(number, row, count)
        if len(self._numbers) > MAX_SELECTORS:
            self._forget(next(iter(self._numbers)))
        return number

    def _candidates(self, selector: PodSelector) -> Iterable[_Set]:
        """The sets with a label that the selector requires; the fewest of several, all where it requires none."""
        if any(part.requirements is None for part in selector.parts):
            return ()
        required = [item for part in selector.parts for item in part.requirements or () if item.operator == "In"]
        found = [[self._by_label.get((item.key, value), set()) for value in item.values] for item in required]
        fewest = min(found, key=lambda sets: sum(map(len, sets)), default=None)
        return self._sets.values() if fewest is None else set().union(*fewest)

    def _forget(self, selector: PodSelector) -> None:
        number = self._numbers.pop(selector)
        self._index.remove(number, selector)
        for item in self._members.pop(number):
            item.selectors.discard(number)
        self._counts.clear(number)

    def total(self, selector: PodSelector) -> int:
        return sum(self._counts.rows(self.number(selector)).values())

    def by_domain(self, selector: PodSelector, numbers: Counts, domains: int) -> Floats:
        """The matching pods in each domain; `numbers` is the domain of each row, of which there are `domains`."""
        return self._counts.by_number(self.number(selector), numbers, domains)

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> bool:
        """The labels of a namespace from now on, None without it; returns whether that may change what selectors match."""
        if self.namespaces.get(name) == labels:
            return False
        if labels is None:
            del self.namespaces[name]
        else:
            self.namespaces[name] = labels
        stale = [selector for selector in self._numbers if selector.selects_namespaces]
        for selector in stale:
            self._forget(selector)
        return True

    def resize(self, capacity: int) -> None:
        self._counts.resize(capacity)

    def snapshot(self) -> dict[PodLabels, dict[int, int]]:
        """All pods by labels and row, for comparison in tests."""
        return {labels: item.rows for labels, item in self._sets.items()}
