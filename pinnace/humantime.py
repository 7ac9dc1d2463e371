"""Spans of time for people, as Kubernetes writes ages: one or two units, those that matter.

Source: apimachinery's pkg/util/duration (HumanDuration).
"""

from __future__ import annotations

UNKNOWN = "<unknown>"
# Clocks of two machines may differ by a second; what is further ahead is no age.
_SLACK = -1


def duration(seconds: float) -> str:
    """`5s`, `3m20s`, `7h`, `2d4h`; `<invalid>` for a negative span."""
    total = int(seconds)
    if total < _SLACK:
        return "<invalid>"
    if total < 120:
        return f"{max(total, 0)}s"
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if minutes < 10:
        return _two(minutes, "m", total % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    years, rest = days // 365, days % 365
    return _two(years, "y", rest if years < 8 else 0, "d")


def _two(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large}{unit}{small}{small_unit}" if small else f"{large}{unit}"


def since(seconds: float, now: float) -> str:
    """The span from a time to `now`, both in seconds since the epoch; `<unknown>` for 0, which is no time."""
    return duration(now - seconds) if seconds else UNKNOWN
