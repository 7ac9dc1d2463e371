"""The elements that the kernel accepts in a new table, found by trial: one that it rejects does not keep out the others.

Sets and maps of another form first, by a few of their elements; then all sets and maps with all of their elements. Those that
fail are always told apart from the others. Only then elements of those that fail are tried, with a bound: a set or map that has
more to reject than that loses valid elements of its own, but none of another.

A check has the skeleton and the elements in question, so the cost is a few times that of the whole table: a container refuses
an element regardless of those of other containers. Verdicts are the exception, as they may make a loop; see `together`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from nodeagent.network.elements import Element
from nodeagent.network.interface import NetworkError

T = TypeVar("T")
# Elements of a set or map, of which it has another form if none is accepted.
_SAMPLES = 8
# Groups of elements that are halved: of one set or map, and of all.
_MAX_HALVED, _MAX_HALVED_TOGETHER = 64, 512
# Elements in checks of a part of a set or map: some, and so many times their number.
_FEW, _TIMES = 20_000, 3
Groups = dict[str, list[Element]]
# Raises NetworkError if the kernel rejects a new table with these elements; it does not make it.
Check = Callable[[Sequence[Element]], None]


@dataclass(slots=True)
class Found:
    """`rejected`: each by itself. `left_out`: elements of sets and maps with too many of them, and the error of some."""

    accepted: list[Element] = field(default_factory=list)
    rejected: list[tuple[Element, NetworkError]] = field(default_factory=list)
    left_out: list[tuple[list[Element], NetworkError]] = field(default_factory=list)


def find(items: Iterable[Element], check: Check) -> Found:
    """Raises NetworkError if the kernel rejects the table without any element."""
    check(())
    groups, search = by_container(items), _Search(check)
    unlike = search.failing({name: _spread(group, 2) for name, group in groups.items()})
    like = {name: group for name, group in groups.items() if name not in unlike}
    mixed = search.failing(like)
    search.found.accepted = [item for name, group in like.items() if name not in mixed for item in group]
    for name, error in unlike.items():
        if search.has_another_form(groups[name]):
            search.found.left_out.append((groups[name], error))
        else:
            mixed[name] = error
    search.separate({name: groups[name] for name in mixed})
    return search.found


def together(items: Iterable[Element], check: Check) -> Found:
    """The elements of whole sets and maps that the kernel accepts after those of others."""
    found = Found()
    for group in by_container(items).values():
        try:
            check([*found.accepted, *group])
            found.accepted += group
        except NetworkError as error:
            found.left_out.append((group, error))
    return found


def by_container(items: Iterable[Element]) -> Groups:
    found: Groups = {}
    for item in items:
        found.setdefault(item.container, []).append(item)
    return found


def _spread(items: Sequence[Element], count: int) -> list[Element]:
    """The first and the last, and others in between."""
    last = len(items) - 1
    return [items[place] for place in sorted({number * last // (count - 1) for number in range(count)})]


class _Search:
    def __init__(self, check: Check) -> None:
        self._check = check
        self.found = Found()

    def _error(self, items: Sequence[Element]) -> NetworkError | None:
        try:
            self._check(items)
        except NetworkError as error:
            return error
        return None

    def failing(self, groups: Mapping[str, list[Element]]) -> dict[str, NetworkError]:
        """Groups that the kernel rejects, and the error of each. Halved without a bound but their number."""
        found, waiting = dict[str, NetworkError](), [list(groups)] if groups else []
        while waiting:
            names = waiting.pop()
            error = self._error([item for name in names for item in groups[name]])
            if error is not None and len(names) > 1:
                waiting += _halves(names)
            elif error is not None:
                found[names[0]] = error
        return found

    def has_another_form(self, items: Sequence[Element]) -> bool:
        return all(self._error([item]) is not None for item in _spread(items, _SAMPLES))

    def separate(self, groups: Mapping[str, list[Element]]) -> None:
        """The elements of groups that fail as a whole."""
        work = _FEW + _TIMES * sum(map(len, groups.values()))
        for group in groups.values():
            self._separate(group, min(_MAX_HALVED, _MAX_HALVED_TOGETHER // len(groups)), work // len(groups))

    def _separate(self, items: list[Element], halved: int, work: int) -> None:
        waiting = [items]
        while waiting:
            some = waiting.pop()
            work -= len(some)
            error = self._error(some)
            if error is None:
                self.found.accepted += some
            elif len(some) == 1:
                self.found.rejected.append((some[0], error))
            elif halved > 0 and work > 0:
                halved -= 1
                waiting += _halves(some)
            else:
                self.found.left_out.append((some, error))


def _halves(items: list[T]) -> list[list[T]]:
    middle = len(items) // 2
    return [items[:middle], items[middle:]]
