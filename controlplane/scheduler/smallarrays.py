"""Arrays of few elements as Python lists behind NumPy's interface, as far as the scheduler uses it.

numpy takes 12 MB and 0.1 s to import, and a cluster of few nodes has columns of few elements. So the functions here return a
`SmallArray` up to SMALL elements and NumPy's arrays above. The table and the plugins are the same for both and import `arrays`.
Results are equal, element by element, and the two may meet in one expression. An operation that is missing here raises.

A slice is a copy, where NumPy has a view: write through an index of the array itself (`a[rows] = x`). Types are `Any` where an
array of NumPy's may stand.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

# Elements up to which a list is as fast as NumPy, for which each operation takes a microsecond in any case.
SMALL = 64

# Names of types that NumPy knows too.
bool_, int32, int64, intp, float64 = "bool", "int32", "int64", "intp", "float64"
_ZEROS: dict[str, Scalar] = {bool_: False, float64: 0.0}
_CASTS: dict[str, Callable[[Any], Scalar]] = {bool_: bool, float64: float}

Scalar: TypeAlias = bool | int | float


def load() -> Any:
    """NumPy, imported: not at once for few nodes."""
    import numpy

    return numpy


def is_loaded() -> bool:
    return "numpy" in sys.modules


def _cast(dtype: str) -> Callable[[Any], Scalar]:
    return _CASTS.get(dtype, int)


def _wider(one: str, other: str) -> str:
    """The type of the sum of two."""
    if one == other or other == bool_:
        return one
    return float64 if float64 in (one, other) else other if one == bool_ else int64


def _with_number(dtype: str, number: Scalar) -> str:
    """The type of the sum of an array and a number, which widens no integers."""
    found = _type(number)
    return dtype if found == int64 and dtype != bool_ else _wider(dtype, found)


def _type(value: Scalar) -> str:
    return bool_ if isinstance(value, bool) else float64 if isinstance(value, float) else int64


class SmallArray:
    """One dimension. `dtype` is one of the names above."""

    __slots__ = ("_items", "dtype", "writeable")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, items: list[Any], dtype: str) -> None:
        self._items = items
        self.dtype = dtype
        self.writeable = True

    @property
    def flags(self) -> SmallArray:
        """For `flags.writeable`."""
        return self

    @property
    def size(self) -> int:
        return len(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous: use any() or all()")

    def __repr__(self) -> str:
        return f"SmallArray({self._items}, {self.dtype})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """For NumPy, where a small array meets a large one."""
        return load().array(self._items, dtype=dtype or self.dtype)

    def tolist(self) -> list[Any]:
        return list(self._items)

    def copy(self) -> SmallArray:
        return SmallArray(self._items[:], self.dtype)

    def astype(self, dtype: str) -> SmallArray:
        return SmallArray([*map(_cast(dtype), self._items)], dtype)

    # Elements

    def __getitem__(self, key: Any) -> Any:
        items = self._items
        if isinstance(key, SmallArray):
            if key.dtype == bool_:
                return SmallArray([item for item, taken in _pairs(items, key) if taken], self.dtype)
            return SmallArray([items[index] for index in key._items], self.dtype)
        if isinstance(key, slice):
            return SmallArray(items[key], self.dtype)
        if isinstance(key, list):
            return SmallArray([items[index] for index in key], self.dtype)
        return items[key] if isinstance(key, int) else self.__array__()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self.writeable:
            raise ValueError("assignment destination is read-only")
        cast, items = _cast(self.dtype), self._items
        if isinstance(key, int):
            items[key] = cast(value)
            return
        rows = self._rows(key)
        values = [value] * len(rows) if isinstance(value, bool | int | float) else list(value)
        for row, item in zip(rows, values, strict=True):
            items[row] = cast(item)

    def _rows(self, key: Any) -> list[int]:
        if isinstance(key, slice):
            return list(range(*key.indices(len(self._items))))
        # NumPy's types equal their names.
        if not isinstance(key, list) and key.dtype == bool_:
            return [row for row, (_, taken) in enumerate(_pairs(self._items, key)) if taken]
        return [int(row) for row in key]

    # Operations: each with an array of the same length, or with a number.

    def _with(self, other: Any, apply: Callable[[Any, Any], Any], dtype: str = "", *, swapped: bool = False) -> Any:
        if isinstance(other, SmallArray):
            pairs = [apply(one, two) for one, two in _pairs(self._items, other)]
            return SmallArray(pairs, dtype or _wider(self.dtype, other.dtype))
        if isinstance(other, bool | int | float):
            results = [apply(other, item) if swapped else apply(item, other) for item in self._items]
            return SmallArray(results, dtype or _with_number(self.dtype, other))
        return NotImplemented

    def _within(self, other: Any, apply: Callable[[Any, Any], Any]) -> SmallArray:
        """In place."""
        found = self._with(other, apply)
        if found is NotImplemented:
            found = [apply(one, two) for one, two in _pairs(self._items, other)]
        self[:] = found
        return self

    def __add__(self, other: Any) -> Any:
        return self._with(other, operator.add)

    def __radd__(self, other: Any) -> Any:
        return self._with(other, operator.add, swapped=True)

    def __sub__(self, other: Any) -> Any:
        return self._with(other, operator.sub)

    def __rsub__(self, other: Any) -> Any:
        return self._with(other, operator.sub, swapped=True)

    def __mul__(self, other: Any) -> Any:
        return self._with(other, operator.mul)

    def __rmul__(self, other: Any) -> Any:
        return self._with(other, operator.mul, swapped=True)

    def __and__(self, other: Any) -> Any:
        return self._with(other, operator.and_)

    def __or__(self, other: Any) -> Any:
        return self._with(other, operator.or_)

    def __invert__(self) -> SmallArray:
        if self.dtype != bool_:
            raise TypeError("only masks are inverted")
        return SmallArray([not item for item in self._items], bool_)

    def __iadd__(self, other: Any) -> SmallArray:
        return self._within(other, operator.add)

    def __isub__(self, other: Any) -> SmallArray:
        return self._within(other, operator.sub)

    def __imul__(self, other: Any) -> SmallArray:
        return self._within(other, operator.mul)

    def __iand__(self, other: Any) -> SmallArray:
        return self._within(other, operator.and_)

    def __ior__(self, other: Any) -> SmallArray:
        return self._within(other, operator.or_)

    def __eq__(self, other: object) -> Any:
        return self._with(other, operator.eq, bool_)

    def __ne__(self, other: object) -> Any:
        return self._with(other, operator.ne, bool_)

    def __lt__(self, other: Any) -> Any:
        return self._with(other, operator.lt, bool_)

    def __le__(self, other: Any) -> Any:
        return self._with(other, operator.le, bool_)

    def __gt__(self, other: Any) -> Any:
        return self._with(other, operator.gt, bool_)

    def __ge__(self, other: Any) -> Any:
        return self._with(other, operator.ge, bool_)

    # Reductions. `where`: the elements that count; `initial`: one more.

    def _taken(self, where: Any, initial: Scalar | None) -> list[Any]:
        items = self._items if where is None else [item for item, taken in _pairs(self._items, where) if taken]
        return items if initial is None else [*items, initial]

    def any(self) -> bool:
        return any(self._items)

    def all(self) -> bool:
        return all(self._items)

    def sum(self, *, where: Any = None) -> Any:
        return sum(self._taken(where, None))

    def max(self, *, where: Any = None, initial: Scalar | None = None) -> Any:
        return max(self._taken(where, initial))

    def min(self, *, where: Any = None, initial: Scalar | None = None) -> Any:
        return min(self._taken(where, initial))

    def argmax(self) -> int:
        """The first of the greatest."""
        return self._items.index(max(self._items))

    def argmin(self) -> int:
        """The first of the least."""
        return self._items.index(min(self._items))


def _pairs(items: list[Any], other: Any) -> Iterable[tuple[Any, Any]]:
    """Raises ValueError for other lengths."""
    return zip(items, other, strict=True)


def array(items: Iterable[Any], dtype: str) -> Any:
    """The elements, in an array of the fitting size."""
    listed = [*map(_cast(dtype), items)]
    return SmallArray(listed, dtype) if len(listed) <= SMALL else load().array(listed, dtype=dtype)


def zeros(size: int, dtype: str) -> Any:
    return SmallArray([_ZEROS.get(dtype, 0)] * size, dtype) if size <= SMALL else load().zeros(size, dtype=dtype)


def ones(size: int, dtype: str) -> Any:
    return SmallArray([_cast(dtype)(1)] * size, dtype) if size <= SMALL else load().ones(size, dtype=dtype)


def extended(items: Any, size: int) -> Any:
    """A copy with so many elements; those that are new are zero."""
    if size <= SMALL and isinstance(items, SmallArray):
        return array([*items, *zeros(size - len(items), items.dtype)], items.dtype)
    np = load()
    found = np.zeros(size, dtype=items.dtype)
    found[: len(items)] = items
    return found


def append(items: Any, more: Any) -> Any:
    """Two arrays of one type, one after the other."""
    if isinstance(items, SmallArray):
        return array([*items, *more], items.dtype)
    return load().append(items, more)


def where(condition: Any, yes: Any, no: Any) -> Any:
    """Per element one of two arrays, or numbers."""
    if not isinstance(condition, SmallArray):
        return load().where(condition, yes, no)
    size = len(condition)
    columns = [[item] * size if isinstance(item, bool | int | float) else item for item in (yes, no)]
    types = [_type(item) if isinstance(item, bool | int | float) else item.dtype for item in (yes, no)]
    chosen = [one if taken else two for taken, one, two in zip(condition, *columns, strict=True)]
    return array(chosen, _wider(types[0], types[1]))


def maximum(items: Any, other: Any) -> Any:
    """Per element the greater of an array's and another's, or a number."""
    if not isinstance(items, SmallArray):
        return load().maximum(items, other)
    found = items._with(other, lambda one, two: two if two > one else one)
    return load().maximum(items, other) if found is NotImplemented else found


def count_nonzero(items: Any) -> int:
    return sum(map(bool, items)) if isinstance(items, SmallArray) else int(load().count_nonzero(items))


def bincount(numbers: Any, *, weights: Any = None, minlength: int = 0) -> Any:
    """How often each number from 0 occurs, or the sums of its weights."""
    if not isinstance(numbers, SmallArray):
        return load().bincount(numbers, weights=weights, minlength=minlength)
    sums: list[Any] = [0] * max(minlength, max(numbers, default=-1) + 1)
    for number, weight in zip(numbers, [1] * len(numbers) if weights is None else weights, strict=True):
        sums[number] += weight
    return array(sums, int64 if weights is None else float64)


def flatnonzero(items: Any) -> Any:
    """The indexes of elements that are not zero."""
    if isinstance(items, SmallArray):
        return SmallArray([index for index, item in enumerate(items) if item], intp)
    return load().flatnonzero(items)


def unique(items: Any) -> Any:
    """The different elements, ascending."""
    return SmallArray(sorted(set(items)), items.dtype) if isinstance(items, SmallArray) else load().unique(items)
