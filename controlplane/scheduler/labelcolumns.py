"""The labels of nodes as columns: a key has the number of each row's value, so a requirement is one look-up per row.

A column exists only for a key that a pod has asked for lately. It is made from the labels of all rows once and then follows
each change, whose cost does not depend on the number of nodes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from controlplane.scheduler import arrays as np
from controlplane.scheduler.arrays import Counts, Mask
from pinnace.nodeselectors import Term
from pinnace.selectors import Requirement

# Columns kept: 20 KB each with 5,000 nodes.
MAX_COLUMNS = 64
# Results of selectors kept: 5 KB each with 5,000 nodes, and the terms, which their pods hold anyway.
MAX_MASKS = 128
ABSENT = 0


class LabelColumn:
    """One key: `numbers` by row, ABSENT where the label is absent, and the value of each number; unused ones are reused."""

    def __init__(self, capacity: int) -> None:
        self.numbers: Counts = np.zeros(capacity, dtype=np.int32)
        self.values: list[str | None] = [None]
        self._known: dict[str, int] = {}
        self._uses = [0]
        self._unused: list[int] = []

    def number(self, value: str) -> int:
        """ABSENT for a value that no row has."""
        return self._known.get(value, ABSENT)

    @property
    def uses(self) -> list[int]:
        """Rows by number."""
        return self._uses

    def set(self, row: int, value: str | None) -> None:
        old = int(self.numbers[row])
        if value == self.values[old]:
            return
        if old:
            self._release(old)
        self.numbers[row] = ABSENT if value is None else self._acquire(value)

    def _acquire(self, value: str) -> int:
        number = self._known.get(value)
        if number is None:
            if self._unused:
                number = self._unused.pop()
                self.values[number] = value
            else:
                number = len(self.values)
                self.values.append(value)
                self._uses.append(0)
            self._known[value] = number
        self._uses[number] += 1
        return number

    def _release(self, number: int) -> None:
        self._uses[number] -= 1
        if not self._uses[number]:
            value = self.values[number]
            assert value is not None
            del self._known[value]
            self.values[number] = None
            self._unused.append(number)

    def meeting(self, requirement: Requirement) -> Mask:
        """The rows that meet a requirement on this key, by a verdict on each value."""
        found: Mask = self._verdicts(requirement)[self.numbers]
        return found

    def _verdicts(self, requirement: Requirement) -> Mask:
        """By number. In and NotIn look up their values, of which there may be more than the nodes have."""
        verdicts = np.zeros(len(self.values), dtype=np.bool_)
        if requirement.operator in ("In", "NotIn"):
            numbers = [self.number(value) for value in requirement.values]
            verdicts[numbers] = True
            verdicts[ABSENT] = False
            return verdicts if requirement.operator == "In" else ~verdicts
        for value, number in [(None, ABSENT), *self._known.items()]:
            verdicts[number] = requirement.matches({} if value is None else {requirement.key: value})
        return verdicts


class LabelColumns:
    """The labels of all rows; `generation` counts their changes."""

    def __init__(self, capacity: int) -> None:
        self.generation = 0
        self._capacity = capacity
        self._labels: dict[int, Mapping[str, str]] = {}
        self._names: dict[str, int] = {}
        self._columns: OrderedDict[str, LabelColumn] = OrderedDict()
        self._masks: OrderedDict[object, tuple[int, Mask]] = OrderedDict()

    def set(self, row: int, name: str, labels: Iterable[tuple[str, str]]) -> None:
        """The name and labels of a row's node from now on."""
        new = dict(labels)
        old = self._labels.get(row, {})
        self._labels[row], self._names[name] = new, row
        self._change(row, old, new)

    def clear(self, row: int, name: str) -> None:
        """The row has no node any more."""
        del self._names[name]
        self._change(row, self._labels.pop(row), {})

    def _change(self, row: int, old: Mapping[str, str], new: Mapping[str, str]) -> None:
        self.generation += 1
        for key in old.keys() | new.keys():
            column = self._columns.get(key)
            if column is not None:
                column.set(row, new.get(key))

    def at(self, row: int) -> Mapping[str, str]:
        """The labels of a row's node."""
        return self._labels[row]

    def of(self, key: str) -> LabelColumn:
        """The column of a key, made where it is not known."""
        found = self._columns.get(key)
        if found is not None:
            self._columns.move_to_end(key)
            return found
        found = self._columns[key] = LabelColumn(self._capacity)
        for row, labels in self._labels.items():
            if key in labels:
                found.set(row, labels[key])
        if len(self._columns) > MAX_COLUMNS:
            self._columns.popitem(last=False)
        return found

    def matching(self, pairs: tuple[tuple[str, str], ...], terms: tuple[Term, ...] | None) -> Mask:
        """The rows with all these labels that match one of the terms; None of them stands for all rows."""
        key = (pairs, terms)
        found = self._masks.get(key)
        if found is not None and found[0] == self.generation:
            self._masks.move_to_end(key)
            return found[1]
        mask = self._matching(pairs, terms)
        # The plugins share it.
        mask.flags.writeable = False
        self._masks[key] = self.generation, mask
        if len(self._masks) > MAX_MASKS:
            self._masks.popitem(last=False)
        return mask

    def _matching(self, pairs: tuple[tuple[str, str], ...], terms: tuple[Term, ...] | None) -> Mask:
        mask = np.ones(self._capacity, dtype=np.bool_)
        for name, value in pairs:
            column = self.of(name)
            number = column.number(value)
            mask &= column.numbers == (number or -1)
        if terms is not None:
            some = np.zeros(self._capacity, dtype=np.bool_)
            for term in terms:
                some |= self._term(term)
            mask &= some
        return mask

    def _term(self, term: Term) -> Mask:
        mask = np.ones(self._capacity, dtype=np.bool_)
        for requirement in term.fields:
            rows = [self._names[name] for name in requirement.values if name in self._names]
            named = np.zeros(self._capacity, dtype=np.bool_)
            named[rows] = True
            mask &= named if requirement.operator == "In" else ~named
        for requirement in term.expressions:
            mask &= self.of(requirement.key).meeting(requirement)
        return mask

    def resize(self, capacity: int) -> None:
        """Columns are made again when they are next used."""
        self._capacity = capacity
        self.generation += 1
        self._columns.clear()
        self._masks.clear()

    def snapshot(self) -> dict[int, Mapping[str, str]]:
        """All labels by row, for comparison in tests."""
        return self._labels
