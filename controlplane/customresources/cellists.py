"""Functions over lists and maps of any type, for the names and macros of `celsyntax`."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any


def identity(value: Any) -> Any:
    """A value that can be hashed, and is equal where values are in CEL: numbers across their types; true is not 1."""
    if isinstance(value, float) and value != value:
        # Not a number equals nothing.
        return object()
    if isinstance(value, list):
        return "list", tuple(identity(item) for item in value)
    if isinstance(value, dict):
        return "map", frozenset((identity(key), identity(item)) for key, item in value.items())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return type(value), value if isinstance(value, Hashable) else str(value)


def identities(items: list[Any]) -> set[Any]:
    """One value for each item that is equal in CEL, so that two lists are compared in linear time."""
    return {identity(item) for item in items}


def _first(items: list[Any], wanted: list[Any]) -> int:
    same = identity(wanted[0])
    return next((at for at, item in enumerate(items) if identity(item) == same), -1)


def _last(items: list[Any], wanted: list[Any]) -> int:
    at = _first(items[::-1], wanted)
    return -1 if at < 0 else len(items) - 1 - at


def _checked(text: str, offset: int) -> int:
    if not 0 <= offset <= len(text):
        raise ValueError(f"index out of range: {offset}")
    return offset


def _zip(keys: list[Any], values: list[Any]) -> dict[Any, Any]:
    return dict(zip(keys, values, strict=True))


def _merge(entries: list[dict[Any, Any]]) -> dict[Any, Any]:
    out: dict[Any, Any] = {}
    for entry in entries:
        for key, value in entry.items():
            if key in out:
                raise ValueError(f"insert failed: key '{key}' already exists")
            out[key] = value
    return out


FUNCTIONS: list[tuple[str, bool, str, Callable[..., Any]]] = [
    # The part or item that is looked for is the only item of a list: see `celsyntax`.
    ("_indexOf", True, "isL", lambda text, part: text.find(part[0])),
    ("_indexOf", True, "isLi", lambda text, part, offset: text.find(part[0], _checked(text, offset))),
    ("_lastIndexOf", True, "isL", lambda text, part: text.rfind(part[0])),
    ("_lastIndexOf", True, "isLi", lambda text, part, offset: text.rfind(part[0], 0, _checked(text, offset) + len(part[0]))),
    ("_indexOf", True, "ill", _first), ("_lastIndexOf", True, "ill", _last),
    ("_keys", True, "ll", lambda items: list(range(len(items)))), ("_keys", True, "lM", list),
    ("_zip", True, "Mll", _zip), ("_merge", True, "Ml", _merge),
]  # fmt: skip
