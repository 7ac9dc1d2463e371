"""Sets of completion indexes against Python's sets, and their text."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace import jobindexes
from pinnace.jobindexes import Indexes

SOME = st.sets(st.integers(0, 40))


def of(indexes: set[int]) -> Indexes:
    return Indexes().with_more(indexes)


@given(SOME, SOME, st.integers(0, 41))
def test_a_set_of_indexes_is_a_set(first: set[int], second: set[int], end: int) -> None:
    """Union, intersection, membership, size, and what is missing."""
    a, b = of(first), of(second)
    assert len(a) == len(first)
    assert all((index in a) == (index in first) for index in range(42))
    assert str(a.union(b)) == str(of(first | second))
    assert a.common(b) == len(first & second)
    assert a.below(end) == of({index for index in first if index < end})
    assert list(a.missing(end)) == [index for index in range(end) if index not in first]
    assert jobindexes.read(str(a), 41) == a


@pytest.mark.parametrize(
    ("indexes", "text"), [({1, 3, 4, 5, 7}, "1,3-5,7"), ({0, 1}, "0,1"), (set(), ""), ({2}, "2"), (set(range(9)), "0-8")]
)  # fmt: skip
def test_the_text_is_kubernetes(indexes: set[int], text: str) -> None:
    """Three neighbours or more are an interval."""
    assert str(of(indexes)) == text


def test_millions_of_indexes_are_cheap() -> None:
    """An interval is two numbers, however long."""
    found = jobindexes.read("0-1999999999", 2_000_000_001)
    assert len(found) == 2_000_000_000
    assert list(itertools.islice(found.missing(2_000_000_001), 3)) == [2_000_000_000]


def test_a_damaged_status_is_read_as_far_as_possible() -> None:
    """A client may have written it."""
    assert str(jobindexes.lenient("5-7,x,1,6-9,3-2,40", 9)) == "1,5-8"
