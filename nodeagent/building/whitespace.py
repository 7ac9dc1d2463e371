"""White space as Go's unicode.IsSpace has it, by which BuildKit reads Dockerfiles; Python's str.isspace has more."""

from __future__ import annotations

import re

SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
# What separates words of an instruction where quotes do not count.
_BLANKS = re.compile(r"[\t\v\f\r ]+")


def is_space(char: str) -> bool:
    return char in SPACES


def strip(text: str) -> str:
    return text.strip(SPACES)


def fields(text: str) -> list[str]:
    """The words between blanks, whatever quotes there are."""
    return [word for word in _BLANKS.split(text) if word]


def partition(text: str) -> tuple[str, str]:
    """The first word and the rest after the blanks that follow it."""
    parts = _BLANKS.split(text, maxsplit=1)
    return parts[0], parts[1] if len(parts) > 1 else ""
