"""Small arrays do what NumPy's do: each operation on the same elements, and on one array of each kind."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.scheduler import smallarrays
from controlplane.scheduler.smallarrays import SMALL, SmallArray

DTYPES = ("bool", "int32", "int64", "float64")
ELEMENTS: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int32": st.integers(-1000, 1000),
    "int64": st.integers(-(1 << 30), 1 << 30),
    "float64": st.floats(-1e6, 1e6),
}
NUMBERS = st.one_of(st.integers(-100, 100), st.floats(-100, 100))
ARITHMETIC = (operator.add, operator.mul)
COMPARISONS = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)


@pytest.fixture(scope="module", autouse=True)
def arrays() -> None:
    """Instead of the package's: both kinds are made here."""


@st.composite
def lists(draw: st.DrawFn, count: int = 1, dtypes: tuple[str, ...] = DTYPES) -> list[tuple[list[Any], str]]:
    """Lists of one length, each with its type."""
    size = draw(st.integers(1, 6))
    found = []
    for _ in range(count):
        dtype = draw(st.sampled_from(dtypes))
        found.append((draw(st.lists(ELEMENTS[dtype], min_size=size, max_size=size)), dtype))
    return found


def small(item: tuple[list[Any], str]) -> SmallArray:
    return SmallArray(list(item[0]), item[1])


def large(item: tuple[list[Any], str]) -> Any:
    return numpy.array(item[0], dtype=item[1])


def same(found: Any, expected: Any) -> None:
    """Equal elements, and for arrays also bool, integer or float."""
    if isinstance(expected, numpy.ndarray):
        assert numpy.asarray(found).dtype.kind == expected.dtype.kind
        assert numpy.asarray(found).tolist() == expected.tolist()
    else:
        assert found == expected


def in_all_pairs(one: tuple[list[Any], str], two: tuple[list[Any], str], apply: Callable[[Any, Any], Any]) -> None:
    expected = apply(large(one), large(two))
    same(apply(small(one), small(two)), expected)
    same(apply(small(one), large(two)), expected)
    same(apply(large(one), small(two)), expected)


@given(lists(2))
def test_comparisons_and_sums_of_two_arrays(items: list[tuple[list[Any], str]]) -> None:
    """Of all types; the kinds may meet."""
    for apply in (*ARITHMETIC, *COMPARISONS):
        if items[0][1] == items[1][1] == "bool" and apply in ARITHMETIC:
            continue
        in_all_pairs(*items, apply)


@given(lists(1), NUMBERS)
def test_operations_with_a_number(items: list[tuple[list[Any], str]], number: float) -> None:
    """On either side."""
    for apply in (*ARITHMETIC, operator.sub, *COMPARISONS):
        if items[0][1] == "bool" and apply is operator.sub:
            continue
        same(apply(small(items[0]), number), apply(large(items[0]), number))
        same(apply(number, small(items[0])), apply(number, large(items[0])))


@given(lists(2, ("bool",)))
def test_masks(items: list[tuple[list[Any], str]]) -> None:
    """And, or, not."""
    in_all_pairs(*items, operator.and_)
    in_all_pairs(*items, operator.or_)
    same(~small(items[0]), ~large(items[0]))
    for apply in (operator.iand, operator.ior):
        expected = apply(large(items[0]), large(items[1]))
        changed = small(items[0])
        alias = changed
        alias = apply(alias, large(items[1]))
        assert alias is changed
        same(changed, expected)


@given(lists(1, ("int32", "int64", "float64")), st.integers(-5, 5))
def test_changes_in_place(items: list[tuple[list[Any], str]], number: int) -> None:
    """Keep the type."""
    for apply in (operator.iadd, operator.isub, operator.imul):
        same(apply(small(items[0]), number), apply(large(items[0]), number))


@given(lists(1), st.slices(6), st.lists(st.integers(0, 5), max_size=8), st.data())
def test_indexes(item: list[Any], part: slice, rows: list[int], data: st.DataObject) -> None:
    """An element, a slice, rows, a mask: read and written."""
    size = len(item[0][0])
    rows = [row % size for row in rows]
    taken = ([bool(data.draw(st.booleans())) for _ in range(size)], "bool")
    value = data.draw(ELEMENTS[item[0][1]])
    same(small(item[0])[size - 1], large(item[0])[size - 1])
    indexes = [(part, part), (rows, rows), (small(taken), large(taken)), (large(taken), large(taken))]
    indexes += [(SmallArray(rows, "int64"), numpy.array(rows, dtype="int64"))]
    for key, known in indexes:
        same(small(item[0])[key], large(item[0])[known])
        found, expected = small(item[0]), large(item[0])
        found[key] = value
        expected[known] = value
        same(found, expected)
        found[key], expected[known] = small(item[0])[key], large(item[0])[known]
        same(found, expected)
    same(large(item[0])[small(taken)], large(item[0])[large(taken)])


@given(lists(1), st.data())
def test_reductions(items: list[tuple[list[Any], str]], data: st.DataObject) -> None:
    """With elements left out, and one more."""
    found, expected, dtype = small(items[0]), large(items[0]), items[0][1]
    for name in ("any", "all", "max", "min", "argmax", "argmin"):
        same(getattr(found, name)(), getattr(expected, name)().item())
    assert found.sum() == pytest.approx(expected.sum())
    assert found.tolist() == expected.tolist() == list(found)
    assert (len(found), found.size) == (len(expected), expected.size)
    where = ([data.draw(st.booleans()) for _ in items[0][0]], "bool")
    if dtype != "bool":
        same(found.max(where=small(where), initial=0), expected.max(where=large(where), initial=0).item())
        same(found.min(where=large(where), initial=0), expected.min(where=large(where), initial=0).item())
    for other in DTYPES:
        if not (dtype in ("float64", "int64") and other == "int32"):
            same(found.astype(other), expected.astype(other))


@given(lists(2), NUMBERS)
def test_functions(items: list[Any], number: float) -> None:
    """As numpy's, and those of NumPy's arrays are numpy's."""
    one, two = items
    taken = ([bool(item) for item in one[0]], "bool")
    for make in (small, large):
        same(smallarrays.where(make(taken), small(one), large(two)), numpy.where(large(taken), large(one), large(two)))
        same(smallarrays.where(make(taken), make(one), number), numpy.where(large(taken), large(one), number))
        same(smallarrays.maximum(make(one), small(two)), numpy.maximum(large(one), large(two)))
        same(smallarrays.maximum(make(one), number), numpy.maximum(large(one), number))
        same(smallarrays.count_nonzero(make(one)), int(numpy.count_nonzero(large(one))))
        same(smallarrays.flatnonzero(make(one)), numpy.flatnonzero(large(one)))
        same(smallarrays.unique(make(one)), numpy.unique(large(one)))
        same(smallarrays.append(make(one), make(one)), numpy.append(large(one), large(one)))
        same(smallarrays.extended(make(one), 9), numpy.append(large(one), numpy.zeros(9 - len(one[0]), dtype=one[1])))


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_are_large_above_the_limit(dtype: str) -> None:
    """However they are made."""
    for made in (smallarrays.zeros, smallarrays.ones, lambda size, dtype: smallarrays.array([1] * size, dtype)):
        assert isinstance(made(SMALL, dtype), SmallArray)
        assert isinstance(made(SMALL + 1, dtype), numpy.ndarray)
        assert made(SMALL, dtype).tolist() == made(SMALL + 1, dtype).tolist()[:-1]
    for size in (SMALL, SMALL + 1):
        assert isinstance(smallarrays.extended(smallarrays.ones(3, dtype), size), SmallArray) == (size == SMALL)
    assert isinstance(smallarrays.append(smallarrays.ones(SMALL, dtype), smallarrays.ones(1, dtype)), numpy.ndarray)


def test_mistakes_raise() -> None:
    """As with NumPy: other lengths, a truth value of many, a write to a mask that others share."""
    one = SmallArray([1, 2], "int64")
    for wrong in (lambda: one + SmallArray([1], "int64"), lambda: bool(one), lambda: one[[0, 1]].__setitem__([0, 1], [1])):
        with pytest.raises(ValueError):
            wrong()
    one.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        one[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        one += 1
    with pytest.raises(TypeError):
        operator.invert(one)
    copy = one.copy()
    copy[0] = 7
    assert one.tolist() == [1, 2]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-9, 9)), max_size=6), st.integers(0, 8))
def test_counts_of_numbers(items: list[tuple[int, int]], length: int) -> None:
    """Each once, or with a weight."""
    numbers, weights = ([item[place] for item in items] for place in (0, 1))
    kinds = [(small((numbers, "int32")), small((weights, "int32"))), (large((numbers, "int32")), small((weights, "int32")))]
    for found, by in kinds:
        same(smallarrays.bincount(found, minlength=length), numpy.bincount(large((numbers, "int64")), minlength=length))
        expected = numpy.bincount(large((numbers, "int64")), weights=weights, minlength=length)
        sums = smallarrays.bincount(found, weights=by, minlength=length)
        # NumPy's are integers where there is none.
        same(sums.astype("float64"), expected.astype("float64"))
