"""Which pods are stopped when, and how long each group has. Pure.

Source: kubelet's nodeshutdown manager (migrateConfig and groupByPriority).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from nodeagent.eviction.thresholds import seconds
from pinnace.podresources import CRITICAL_PRIORITY

Item = TypeVar("Item")
# A pod's priority.
_PRIORITY, _INT32 = re.compile("-?[0-9]{1,10}"), range(-(2**31), 2**31)


@dataclass(frozen=True, slots=True)
class Period:
    """`seconds` for the pods of at least this priority, and below that of the next period."""

    priority: int
    seconds: float


def periods(grace: float, critical: float) -> tuple[Period, ...]:
    """Of `grace` seconds the last `critical` ones are for critical pods; none without any. Raises ValueError."""
    if critical > grace:
        raise ValueError("--shutdown-grace-period-critical-pods must not be longer than --shutdown-grace-period")
    if not grace:
        return ()
    return Period(0, grace - critical), Period(CRITICAL_PRIORITY, critical)


def by_priority(text: str) -> tuple[Period, ...]:
    """`0=60s,1000=2m`: kubelet's shutdownGracePeriodByPodPriority, the lowest priority first. Raises ValueError."""
    found: dict[int, float] = {}
    for item in text.split(",") if text else ():
        name, equals, time = (part.strip() for part in item.partition("="))
        if not equals or not _PRIORITY.fullmatch(name) or int(name) not in _INT32:
            raise ValueError(f'"{item[:40]}" is not PRIORITY=TIME, such as 1000=2m')
        if int(name) in found:
            raise ValueError(f"priority {int(name)} has two periods")
        found[int(name)] = seconds(time)
    return tuple(Period(priority, found[priority]) for priority in sorted(found)) if any(found.values()) else ()


def grouped(found: Sequence[Period], pods: Iterable[tuple[int, Item]]) -> list[tuple[Period, list[Item]]]:
    """Pods, given with their priorities, by period, the lowest first. Those below every period are in the first."""
    groups: list[tuple[Period, list[Item]]] = [(period, []) for period in sorted(found, key=lambda item: item.priority)]
    for priority, pod in pods:
        fitting = [index for index, (period, _) in enumerate(groups) if period.priority <= priority]
        groups[max(fitting, default=0)][1].append(pod)
    return [(period, members) for period, members in groups if members]
