"""Thresholds: what a node must have left of each signal, and how long it may have less.

Source: kubelet's flags --eviction-hard, --eviction-soft, --eviction-soft-grace-period and --eviction-minimum-reclaim.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction

from pinnace import quantity

MEMORY_PRESSURE, DISK_PRESSURE, PID_PRESSURE = "MemoryPressure", "DiskPressure", "PIDPressure"
# The condition that each signal leads to, and the resource that is then short, in the order in which signals are served.
SIGNALS: dict[str, tuple[str, str]] = {
    "memory.available": (MEMORY_PRESSURE, "memory"),
    "nodefs.available": (DISK_PRESSURE, "ephemeral-storage"),
    "nodefs.inodesFree": (DISK_PRESSURE, "inodes"),
    "imagefs.available": (DISK_PRESSURE, "ephemeral-storage"),
    "imagefs.inodesFree": (DISK_PRESSURE, "inodes"),
    "pid.available": (PID_PRESSURE, "pids"),
}
# Kubelet's own defaults.
HARD = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%"
TRANSITION, INTERVAL = 300.0, 10.0
_THRESHOLD = re.compile(r"([a-zA-Z.]+)<(.+)\Z", re.ASCII)
_AMOUNT = re.compile(r"([a-zA-Z.]+)=(.+)\Z", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)", re.ASCII)
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@dataclass(frozen=True, slots=True)
class Threshold:
    """Met while less than `value` is left: units of the signal, or a part of the capacity when `part` is set.

    `grace` in seconds: zero is a hard threshold. `reclaim` is what must be left beyond it before it is over."""

    signal: str
    value: int = 0
    part: Fraction = Fraction(0)
    grace: float = 0.0
    reclaim: int = 0
    # As it was written, for messages.
    text: str = ""

    @property
    def hard(self) -> bool:
        return self.grace == 0

    @property
    def condition(self) -> str:
        return SIGNALS[self.signal][0]

    @property
    def resource(self) -> str:
        return SIGNALS[self.signal][1]

    def amount(self, capacity: int) -> int:
        """In units of the signal."""
        return int(self.part * capacity) if self.part else self.value


@dataclass(frozen=True, slots=True)
class Config:
    """`transition` in seconds: how long a condition stays after the last threshold of it was met. `max_pod_grace`: the
    longest that a pod may take to stop after a soft threshold. `interval` between looks."""

    thresholds: tuple[Threshold, ...] = field(default_factory=lambda: parse(HARD))
    transition: float = TRANSITION
    max_pod_grace: float = 0.0
    interval: float = INTERVAL


def parse(hard: str, soft: str = "", soft_grace: str = "", reclaim: str = "") -> tuple[Threshold, ...]:
    """The thresholds of four flags, each a comma-separated list. Raises ValueError naming the part that is wrong."""
    kept = {signal: _units(signal, value) for signal, value in _pairs(reclaim)}
    graces = {signal: seconds(value) for signal, value in _pairs(soft_grace)}
    found = [_threshold(part, kept) for part in filter(None, hard.split(","))]
    for part in filter(None, soft.split(",")):
        threshold = _threshold(part, kept)
        grace = graces.pop(threshold.signal, 0.0)
        if not grace:
            raise ValueError(f'"{part}": a soft threshold needs a grace period of its own (--eviction-soft-grace-period)')
        found.append(Threshold(threshold.signal, threshold.value, threshold.part, grace, threshold.reclaim, threshold.text))
    if graces:
        raise ValueError(f"a grace period for {', '.join(graces)}, which has no soft threshold")
    return tuple(found)


def _threshold(part: str, kept: dict[str, int]) -> Threshold:
    match = _THRESHOLD.match(part)
    if match is None:
        raise ValueError(f'"{part}": expected SIGNAL<QUANTITY or SIGNAL<PERCENTAGE')
    signal, text = match.groups()
    _check(signal, part)
    if not text.endswith("%"):
        return Threshold(signal, _units(signal, text), reclaim=kept.get(signal, 0), text=text)
    try:
        share = Fraction(text[:-1]) / 100
    except (ValueError, ZeroDivisionError):
        raise ValueError(f'"{part}": {text} is not a percentage') from None
    if not 0 <= share <= 1:
        raise ValueError(f'"{part}": a percentage lies between 0% and 100%')
    return Threshold(signal, part=share, reclaim=kept.get(signal, 0), text=text)


def _pairs(text: str) -> list[tuple[str, str]]:
    found = []
    for part in filter(None, text.split(",")):
        match = _AMOUNT.match(part)
        if match is None:
            raise ValueError(f'"{part}": expected SIGNAL=VALUE')
        _check(match[1], part)
        found.append((match[1], match[2]))
    return found


def _check(signal: str, part: str) -> None:
    if signal not in SIGNALS:
        raise ValueError(f'"{part}": unknown signal {signal} (there are {", ".join(SIGNALS)})')


def _units(signal: str, text: str) -> int:
    value = quantity.units(text)
    if value < 0:
        raise ValueError(f"{signal}: {text} must not be negative")
    return value


def seconds(text: str) -> float:
    """`90s`, `1m30s` or a plain number of seconds. Raises ValueError."""
    if _DURATION.sub("", text) == "" and text:
        value = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))
    else:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
    if not 0 <= value < 1e9:
        raise ValueError(f'"{text}" is not a duration such as 90s or 1m30s')
    return value
