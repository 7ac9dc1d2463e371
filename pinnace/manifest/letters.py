"""The names N, n, Y and y, which YAML 1.1 and kubectl take for booleans.

kubectl refuses them where text is wanted (`env: [{name: N}]`): no other reader of YAML sees a boolean there, and nobody
means one. So they are text in fields of text, and what kubectl makes of them everywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pinnace.schema import Field, Schema

LETTERS = frozenset("yYnN")
# By the identity of the list or mapping that holds it, and its index or key: the text of a plain scalar.
Letters = Mapping[tuple[int, Any], str]


def restore(spec: Schema, value: Any, letters: Letters) -> None:
    """Put the text back into every field of `value`, an object in JSON form, whose type is a string."""
    if not letters or not isinstance(value, dict):
        return
    for key in value:
        found = spec.find(key)
        if found is not None:
            _restore(found[1], value, key, letters)


def _restore(item: Field, holder: Any, key: Any, letters: Letters) -> None:
    value = holder[key]
    places: list[tuple[Any, Any]]
    if item.repeated and isinstance(value, list):
        places = [(value, index) for index in range(len(value))]
    elif item.map and isinstance(value, dict):
        places = [(value, name) for name in value]
    else:
        places = [(holder, key)]
    for inner, at in places:
        if item.message is not None:
            restore(item.message, inner[at], letters)
        elif item.type == "string" and isinstance(inner[at], bool):
            inner[at] = letters.get((id(inner), at), inner[at])
