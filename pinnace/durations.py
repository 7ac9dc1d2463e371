"""Durations as Go writes and reads them: `1h30m0s`, `2.5s`, `500ms`. Whole nanoseconds inside; floats never.

Source: String and ParseDuration of Go's package time.
"""

from __future__ import annotations

import re
from fractions import Fraction

# The largest in nanoseconds, some 292 years.
MAX = (1 << 63) - 1
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_TEXT = re.compile(rf"[+-]?({_PART.pattern})+\Z", re.ASCII)
_MAX_TEXT = 64
_BELOW_SECOND = ((10**6, "ms"), (10**3, "µs"), (1, "ns"))


def parse(text: str) -> int:
    """Nanoseconds, rounded toward zero. Raises ValueError when `text` is no duration, or one that is too long."""
    error = ValueError(f'expected a duration such as "1h30m" or "500ms", got "{text[:_MAX_TEXT]}"')
    if text.lstrip("+-") == "0" and len(text) < 3:
        return 0
    if len(text) > _MAX_TEXT or not _TEXT.match(text):
        raise error
    total = sum(int(Fraction(number) * _UNITS[unit]) for number, unit in _PART.findall(text))
    if total > MAX:
        raise error
    return -total if text.startswith("-") else total


def render(nanoseconds: int) -> str:
    """The form that Go prints: below a second one unit with a fraction, else hours, minutes and seconds."""
    size = abs(nanoseconds)
    sign = "-" if nanoseconds < 0 else ""
    if not size:
        return "0s"
    for unit, name in _BELOW_SECOND:
        if size < _UNITS["s"] and size >= unit:
            return f"{sign}{_decimal(size, unit)}{name}"
    minutes, rest = divmod(size, _UNITS["m"])
    hours, minutes = divmod(minutes, 60)
    front = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{front}{_decimal(rest, _UNITS['s'])}s"


def _decimal(amount: int, unit: int) -> str:
    """`amount` in units, without trailing zeros."""
    whole, rest = divmod(amount, unit)
    digits = str(unit + rest)[1:].rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
