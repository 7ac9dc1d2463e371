"""Regular expressions of schemas: RE2, as in Kubernetes, whose time is linear in the text whatever the pattern.

The library is imported with the first pattern: a cluster without custom resources does not load it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

# Memory of one compiled pattern; Go's regexp refuses repetitions above 1,000 instead.
MAX_MEMORY = 8 << 20
MAX_PATTERN = 65_536


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Any:
    """Raises ValueError with the reason."""
    import re2

    options = re2.Options()
    options.max_mem = MAX_MEMORY
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0] if error.args else error
        raise ValueError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None


def problem(pattern: str) -> str:
    """Why a text is no pattern; empty if it is one."""
    if len(pattern) > MAX_PATTERN:
        return f"must be no more than {MAX_PATTERN} characters"
    try:
        _compiled(pattern)
    except ValueError as error:
        return f"must be a valid regular expression, but isn't: error parsing regexp: {error}"
    return ""


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found anywhere in the text, as in JSON Schema. False for text that is not Unicode."""
    try:
        return _compiled(pattern).search(text) is not None
    except UnicodeEncodeError:
        return False


def found(pattern: str, text: str, most: int) -> list[str]:
    """The matches from left to right, at most `most` of them unless that is negative. Raises ValueError for no pattern."""
    out: list[str] = []
    for match in _compiled(pattern).finditer(text):
        if 0 <= most <= len(out):
            break
        out.append(match.group(0))
    return out
