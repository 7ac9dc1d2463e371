"""File patterns as Go's filepath.Match has them, which Dockerfiles and .dockerignore files use; `**` when asked for.

`*` and `?` match within one component, `[a-z]` and `[^a-z]` one character, a backslash makes the next character literal.
"""

from __future__ import annotations

import re
from functools import lru_cache


class BadPattern(ValueError):
    """A pattern with a class that does not close, or a backslash at its end."""


@lru_cache(maxsize=4096)
def translate(pattern: str, *, doublestar: bool = False) -> re.Pattern[str]:
    """A compiled expression for `fullmatch`. Raises BadPattern."""
    out, at = [], 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            stars = 1
            while pattern[at : at + 1] == "*":
                stars, at = stars + 1, at + 1
            if stars < 2 or not doublestar:
                out.append("[^/]*")
            elif pattern[at : at + 1] == "/":
                # Any number of folders, none as well.
                out.append("(?:.*/)?")
                at += 1
            else:
                out.append(".*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            text, at = _class(pattern, at)
            out.append(text)
        elif char == "\\":
            if at >= len(pattern):
                raise BadPattern(f"{pattern!r}: a backslash at the end")
            out.append(re.escape(pattern[at]))
            at += 1
        else:
            out.append(re.escape(char))
    return re.compile("".join(out), re.DOTALL)


def _class(pattern: str, at: int) -> tuple[str, int]:
    """The expression of a character class whose `[` has been read, and where the pattern goes on."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    ranges: list[str] = []
    while pattern[at : at + 1] != "]" or not ranges:
        low, at = _member(pattern, at)
        high = low
        if pattern[at : at + 1] == "-" and pattern[at + 1 : at + 2] != "]":
            high, at = _member(pattern, at + 1)
        if low > high:
            raise BadPattern(f"{pattern!r}: the range {low}-{high} is empty")
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    return f"(?!/)[{'^' if negated else ''}{''.join(ranges)}]", at + 1


def _member(pattern: str, at: int) -> tuple[str, int]:
    if pattern[at : at + 1] == "\\":
        at += 1
    if at >= len(pattern):
        raise BadPattern(f"{pattern!r}: a [ is not closed")
    return pattern[at], at + 1


def has_magic(text: str) -> bool:
    return any(char in text for char in "*?[\\")
