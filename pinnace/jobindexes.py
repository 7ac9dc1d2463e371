"""Completion indexes of a Job as ordered intervals, and their text: `1,3-5,7`.

Intervals, since a Job may have millions of indexes. Source: kube-controller-manager's indexed_job_utils.go.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Indexes:
    """A set of indexes: ordered intervals (first, last) with a gap between any two."""

    intervals: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.intervals)

    def __contains__(self, index: int) -> bool:
        at = bisect_right(self.intervals, index, key=lambda interval: interval[0])
        return at > 0 and index <= self.intervals[at - 1][1]

    def __str__(self) -> str:
        return ",".join(_text(first, last) for first, last in self.intervals)

    def with_more(self, indexes: Iterable[int]) -> Indexes:
        """The set and these indexes."""
        return self.union(Indexes(tuple((index, index) for index in indexes)))

    def union(self, other: Indexes) -> Indexes:
        """The indexes of either set."""
        return Indexes(tuple(_joined(sorted([*self.intervals, *other.intervals]))))

    def below(self, end: int) -> Indexes:
        """The indexes below `end`."""
        return Indexes(tuple((first, min(last, end - 1)) for first, last in self.intervals if first < end))

    def common(self, other: Indexes) -> int:
        """How many indexes are in both sets."""
        return len(self) + len(other) - len(self.union(other))

    def missing(self, end: int) -> Iterator[int]:
        """Indexes from 0 below `end` that are not in the set, in order."""
        start = 0
        for first, last in self.intervals:
            yield from range(start, min(first, end))
            start = last + 1
        yield from range(start, end)


def _text(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first},{last}" if last == first + 1 else f"{first}-{last}"


def _joined(intervals: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Ordered intervals without overlaps and without neighbours."""
    start, end = -1, -2
    for first, last in intervals:
        if first > end + 1:
            if end >= start:
                yield start, end
            start, end = first, last
        else:
            end = max(end, last)
    if end >= start:
        yield start, end


def read(text: str, completions: int) -> Indexes:
    """The set that a text describes. Raises ValueError, with Kubernetes' words, for one that is not in order, or that has an
    index of `completions` or above."""
    intervals: list[tuple[int, int]] = []
    for part in text.split(",") if text else ():
        first, last = _interval(part, completions)
        if intervals and intervals[-1][1] >= first:
            raise ValueError(f"non-increasing order, previous: {intervals[-1][1]}, current: {first}")
        intervals.append((first, last))
    return Indexes(tuple(_joined(intervals)))


def _interval(text: str, completions: int) -> tuple[int, int]:
    limits = text.split("-")
    if len(limits) > 2:
        rule = "an index interval can have at most two parts separated by '-'"
        raise ValueError(f'the fragment "{text}" violates the requirement that {rule}')
    numbers = [_index(limit, completions) for limit in limits]
    if len(numbers) == 2 and numbers[0] >= numbers[1]:
        raise ValueError(f"non-increasing order, previous: {numbers[0]}, current: {numbers[1]}")
    return numbers[0], numbers[-1]


def _index(text: str, completions: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise ValueError(f'cannot convert string to integer for index: "{text}"')
    if int(text) >= completions:
        raise ValueError(f'too large index: "{text}"')
    return int(text)


def lenient(text: str, completions: int) -> Indexes:
    """As `read`, without parts that cannot be read or are too large: of a status, which a client may have written."""
    intervals = []
    for part in text.split(",") if text else ():
        try:
            intervals.append(_interval(part, 1 << 31))
        except ValueError:
            continue
    return Indexes(tuple(_joined(sorted(intervals)))).below(completions)
