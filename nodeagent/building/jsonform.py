"""The JSON form of RUN, CMD, COPY and others: an array of strings. Pure.

As BuildKit: what is no JSON array is the shell form or a list of words; an array with anything but strings is an error.
"""

from __future__ import annotations

import json

from nodeagent.building.errors import BuildError
from nodeagent.building.whitespace import SPACES


def strings(text: str, line: int) -> tuple[str, ...] | None:
    """The array's strings; None for what is not a JSON array. Raises BuildError for one with other values."""
    found = _parsed(text)
    if found is None:
        return None
    strings = tuple(_valid(item) for item in found if isinstance(item, str))
    if len(strings) < len(found):
        raise BuildError("when using JSON array syntax, arrays must be comprised of strings only", line)
    return strings


def is_list(text: str) -> bool:
    return _parsed(text) is not None


def _parsed(text: str) -> list[object] | None:
    text = text.lstrip(SPACES)
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _no_constant(name: str) -> None:
    """NaN and Infinity are Python's, not JSON's."""
    raise ValueError(name)


def _valid(text: str) -> str:
    """Lone surrogates, which no UTF-8 has, as U+FFFD, as Go's decoder gives."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
