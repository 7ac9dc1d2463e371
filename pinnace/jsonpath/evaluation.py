"""What a parsed template finds in an object.

Bounded: `..` in `..` multiplies, so that an evaluation may look at MAX_VALUES values and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pinnace.jsonpath.nodes import Block, Descent, Field, Filter, Key, Literal, Path, Range, Slice, Step, Union, Wildcard

# Ten thousand pods have about three million values; this takes some seconds.
MAX_VALUES = 10_000_000
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip
_ORDERED = ("a string", "a number")


class Failed(Exception):
    """The template does not fit the object."""


def results(block: Block, data: Any, *, allow_missing: bool) -> list[list[Any]]:
    """A list for each text and path, in order; the lists of a range once for each of its items. Raises Failed."""
    out: list[list[Any]] = []
    _Evaluation(allow_missing=allow_missing).block(block, data, out)
    return out


class _Evaluation:
    def __init__(self, *, allow_missing: bool) -> None:
        self._allow_missing = allow_missing
        self._left = MAX_VALUES

    def block(self, block: Block, current: Any, out: list[list[Any]]) -> None:
        for part in block.parts:
            if isinstance(part, Range):
                for item in self._path(part.path, [current]):
                    self.block(part.body, item, out)
            else:
                self._spend(1)
                out.append([part] if isinstance(part, str) else self._path(part, [current]))

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise Failed(f"the template looks at more than {MAX_VALUES:,} values")

    def _path(self, path: Path, values: list[Any]) -> list[Any]:
        for step in path.steps:
            values = self._step(step, values)
        return values

    def _step(self, step: Step, values: list[Any]) -> list[Any]:
        self._spend(len(values) + 1)
        match step:
            case Literal():
                return [step.value] * len(values)
            case Field() | Key():
                return self._members(step, values)
            case Wildcard():
                return self._spent(element for value in values for element in _elements(value))
            case Descent():
                return self._spent(below for value in values for below in _descent(value))
            case Slice():
                return self._spent(item for value in values for item in _sliced(step, value))
            case Union():
                return [found for path in step.paths for found in self._path(path, values)]
            case Filter():
                return [item for value in values for item in self._filtered(step, value)]

    def _spent(self, found: Iterator[Any]) -> list[Any]:
        out = []
        for value in found:
            self._spend(1)
            out.append(value)
        return out

    def _members(self, step: Field | Key, values: list[Any]) -> list[Any]:
        found: list[Any] = []
        for value in values:
            if isinstance(value, dict) and step.name in value:
                found.append(value[step.name])
            elif isinstance(step, Key) and step.path is not None and step.path != Path((Field(step.name),)):
                found += self._path(step.path, [value])
        if not found and values and not self._allow_missing:
            raise Failed(f"{step.name} is not found")
        return found

    def _filtered(self, step: Filter, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise Failed(f"{_kind(value)} is not a list and cannot be filtered")
        self._spend(len(value))
        return [item for item in value if self._holds(step, item)]

    def _holds(self, step: Filter, item: Any) -> bool:
        if not step.operator:
            return self._exists(step.left, item)
        lefts, rights = self._path(step.left, [item]), self._path(step.right, [item])
        if len(lefts) > 1 or len(rights) > 1:
            raise Failed("can only compare one element at a time")
        if not lefts or not rights:
            return False
        return _compare(lefts[0], step.operator, rights[0])

    def _exists(self, path: Path, item: Any) -> bool:
        try:
            return bool(self._path(path, [item]))
        except Failed:
            if self._left < 0:
                raise
            return False


def _elements(value: Any) -> Iterator[Any]:
    """Of a list in order, of an object by the order of its keys."""
    if isinstance(value, dict):
        return (value[key] for key in sorted(value))
    return iter(value) if isinstance(value, list) else iter(())


def _descent(value: Any) -> Iterator[Any]:
    """The value and what is below it, parents first. As in kubectl without numbers, booleans, nulls and what is empty."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, (dict, list, str)) and value:
            yield value
            stack += reversed(list(_elements(value)))


def _sliced(step: Slice, value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Failed(f"{_kind(value)} is not a list")
    size = len(value)
    start = step.start or 0
    stop: int | None = start + 1 if step.single else step.stop
    start += size if start < 0 else 0
    if stop is None or stop < 0 or (step.single and stop == 0):
        stop = size + (stop or 0)
    if start == stop:
        return []
    if not 0 <= start < size:
        raise Failed(f"array index out of bounds: index {start}, length {size}")
    if not 0 <= stop <= size:
        raise Failed(f"array index out of bounds: index {stop - 1}, length {size}")
    if start > stop:
        raise Failed(f"starting index {start} is greater than ending index {stop}")
    if step.step is not None and step.step <= 0:
        raise Failed("step must be > 0")
    return value[start : stop : step.step or 1]


def _compare(left: Any, operator: str, right: Any) -> bool:
    """Strings with strings, numbers with numbers, booleans for equality only; anything else is an error, as in Go."""
    kinds = [_kind(value) for value in (left, right)]
    if kinds[0] != kinds[1]:
        raise Failed(f"incompatible types for comparison: {kinds[0]} with {kinds[1]}")
    if kinds[0] not in _ORDERED and not (isinstance(left, bool) and operator in ("==", "!=")):
        raise Failed(f"{kinds[0]} cannot be compared with {operator}")
    return _COMPARISONS[operator](left, right)


def _kind(value: Any) -> str:
    """What a value is, in JSON's words."""
    names: dict[type, str] = {
        dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number",
    }  # fmt: skip
    return names.get(type(value), "null")
