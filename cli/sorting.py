"""--sort-by: the order of objects by a field, as kubectl defines it.

Source: the sorting section of the kubectl reference; kubectl's pkg/cmd/get/sorter.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from pinnace import jsonpath, quantity
from pinnace.errors import BadRequest

T = TypeVar("T")
_CHUNK = re.compile(r"([0-9]+)")


def by_path(items: list[T], path: str, document: Callable[[T], dict[str, Any]]) -> list[T]:
    """Objects without the field first; numbers and quantities by value, text in natural order (pod-9 before pod-10).

    Raises BadRequest for a path that cannot be read, that no object has, or that leads to an object or a list."""
    template = jsonpath.Template(jsonpath.relaxed(path))
    found = [template.first(document(item))[:1] for item in items]
    if len(items) > 1 and not any(found):
        raise BadRequest(f'couldn\'t find any field with path "{template.text}" in the list of objects')
    values = [value for values in found for value in values]
    if any(isinstance(value, (dict, list)) for value in values):
        raise BadRequest(f'--sort-by: "{template.text}" leads to an object or a list, which has no order')
    measured = all(_is_quantity(value) for value in values if isinstance(value, str))
    keys = [_key(values, measured=measured) for values in found]
    return [items[index] for index in sorted(range(len(items)), key=keys.__getitem__)]


def _key(values: list[Any], *, measured: bool) -> tuple[int, Any]:
    """Nothing, null, numbers, text: in this order."""
    if not values:
        return 0, 0
    value = values[0]
    if value is None:
        return 1, 0
    if isinstance(value, (int, float)):
        return 2, value
    return (3, quantity.parse(value)) if measured else (4, natural(value))


def natural(text: str) -> list[tuple[int, int, str]]:
    """Digits in a row compare as one number, which stands where its first digit would."""
    key: list[tuple[int, int, str]] = []
    for chunk in _CHUNK.split(text):
        if _CHUNK.fullmatch(chunk):
            digits = chunk.lstrip("0")
            key.append((ord("0"), len(digits), digits))
        else:
            key += [(ord(char), 0, "") for char in chunk]
    return key


def _is_quantity(text: str) -> bool:
    try:
        quantity.parse(text)
    except ValueError:
        return False
    return True
