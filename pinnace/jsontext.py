"""JSON as text: limits of clients' input, the stored form, and values in errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pinnace.fieldpaths import FieldError

MAX_DIGITS = 400
# Of a JSON value that no message describes: a reader of ours recurses once for each level.
MAX_DEPTH = 128
# Of one text, as reading a number costs a call: five times what any object may have, which may bring its managedFields.
MAX_VALUES = 250_000


def load_json(data: bytes, collect: Callable[[list[tuple[str, Any]]], dict[str, Any]] | None = None) -> Any:
    """The value of a JSON text; `collect` makes objects of their members. Raises ValueError, with a reason for the client."""
    # A value and its comma are two bytes.
    if len(data) > 2 * MAX_VALUES and _values(data) > MAX_VALUES:
        raise ValueError(f"it has more than {MAX_VALUES} values")
    try:
        return json.loads(data, parse_int=_parse_int, parse_constant=_no_constant, object_pairs_hook=collect)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _values(data: bytes) -> int:
    """How many values a JSON text has at least, counted without a loop: by its strings, or by the commas between them."""
    plain = data.replace(rb"\\", b"").replace(rb"\"", b"")
    # A value has two strings when its key is one of them.
    strings = plain.count(b'"') // 4
    return strings if strings > MAX_VALUES else b"".join(plain.split(b'"')[::2]).count(b",")


def _parse_int(text: str) -> int:
    # The time to read a number grows with the square of its length.
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")
    return int(text)


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def describe(value: Any) -> str:
    """A value as an error shows it: short, and of its JSON type."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + ('..."' if text[0] == '"' else "...")


def json_text(value: Any) -> bytes:
    """JSON in the form in which it is stored: equal values have equal texts. Raises FieldError for what is no such value."""
    if depth_exceeds(value):
        raise FieldError(f"nested deeper than {MAX_DEPTH} levels")
    try:
        return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise FieldError("holds a character that is not valid Unicode") from None
    except ValueError:
        raise FieldError("holds a number that JSON cannot write") from None


def depth_exceeds(value: Any, most: int = MAX_DEPTH) -> bool:
    """Whether lists and objects are nested deeper, found without recursion."""
    level = [value]
    for _ in range(most):
        level = [
            below
            for item in level
            for below in (item.values() if type(item) is dict else item if type(item) is list else ())
            if type(below) is dict or type(below) is list
        ]
        if not level:
            return False
    return True
