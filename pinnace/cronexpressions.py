"""Schedules of CronJobs: their syntax, in the words of the parser that Kubernetes uses.

When they come due is in `controlplane.controllers.crontimes`.
Source: robfig/cron v3 (ParseStandard).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pinnace import durations

_MONTHS = {
    "jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12,
}  # fmt: skip
_DAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}


class _Bounds(NamedTuple):
    least: int
    most: int
    names: dict[str, int]


_FIELDS = (_Bounds(0, 59, {}), _Bounds(0, 23, {}), _Bounds(1, 31, {}), _Bounds(1, 12, _MONTHS), _Bounds(0, 6, _DAYS))
_DAY_FIELDS = (2, 4)
_WORDS = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0", "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
_EVERY = "@every "


@dataclass(frozen=True, slots=True)
class Schedule:
    """Either five fields, with `*` and numbers alone, or an interval in seconds."""

    fields: str = ""
    interval: int = 0


def parse(text: str) -> Schedule:
    """Raises ValueError."""
    if not text.strip():
        raise ValueError("empty spec string")
    if text.startswith("@"):
        return _word(text)
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    return Schedule(" ".join(_field(field, at) for at, field in enumerate(fields)))


def _word(text: str) -> Schedule:
    if text in _WORDS:
        return Schedule(_WORDS[text])
    if not text.startswith(_EVERY):
        raise ValueError(f"unrecognized descriptor: {text}")
    value = text.removeprefix(_EVERY)
    try:
        seconds = durations.parse(value) // 10**9
    except ValueError:
        raise ValueError(f'failed to parse duration {text}: time: invalid duration "{value}"') from None
    return Schedule(interval=max(seconds, 1))


def _field(text: str, at: int) -> str:
    """A field with numbers for names. Days have `*` only where every day counts: then the other field of days decides alone."""
    parts = [_part(part, at) for part in text.split(",") if part]
    if not parts:
        raise ValueError(f"empty field: {text}")
    return "*" if "*" in parts else ",".join(parts)


def _part(text: str, at: int) -> str:
    bounds = _FIELDS[at]
    range_, *steps = text.split("/")
    first, *lasts = range_.split("-")
    if len(steps) > 1:
        raise ValueError(f"too many slashes: {text}")
    if len(lasts) > 1:
        raise ValueError(f"too many hyphens: {text}")
    step = _number(steps[0], {}) if steps else 1
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {text}")
    if first in ("*", "?") and not lasts:
        if step == 1:
            return "*"
        return f"{bounds.least}-{bounds.most}/{step}" if at in _DAY_FIELDS else f"*/{step}"
    start = _number(first, bounds.names)
    end = _number(lasts[0], bounds.names) if lasts else bounds.most if steps else start
    _check(start, end, bounds, text)
    numbers = range(start, end + 1, step)
    return ",".join(map(str, numbers))


def _check(start: int, end: int, bounds: _Bounds, text: str) -> None:
    if start < bounds.least:
        raise ValueError(f"beginning of range ({start}) below minimum ({bounds.least}): {text}")
    if end > bounds.most:
        raise ValueError(f"end of range ({end}) above maximum ({bounds.most}): {text}")
    if start > end:
        raise ValueError(f"beginning of range ({start}) beyond end of range ({end}): {text}")


def _number(text: str, names: dict[str, int]) -> int:
    known = names.get(text.lower())
    if known is not None:
        return known
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)
