"""Topology spread constraints of pods: rules between their fields.

Source: core/v1's validateTopologySpreadConstraints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pinnace import fielderrors, formats, labelselectors
from pinnace.admission import affinity
from pinnace.errors import Cause

DO_NOT_SCHEDULE, SCHEDULE_ANYWAY = "DoNotSchedule", "ScheduleAnyway"
_POSITIVE = "must be greater than zero"


def validate(items: Sequence[Any], path: str) -> Iterator[Cause]:
    """Every error of a pod's constraints at `path`."""
    known = [(item.topologyKey, item.whenUnsatisfiable) for item in items]
    for index, item in enumerate(items):
        where = f"{path}[{index}]"
        yield from _constraint(item, where)
        if known[index] in known[index + 1 :]:
            text = f"{{{item.topologyKey}, {item.whenUnsatisfiable}}}"
            yield fielderrors.duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", text)


def _constraint(item: Any, path: str) -> Iterator[Cause]:
    if item.maxSkew <= 0:
        yield fielderrors.invalid(f"{path}.maxSkew", item.maxSkew, _POSITIVE)
    if not item.topologyKey:
        yield fielderrors.required(f"{path}.topologyKey", "can not be empty")
    else:
        for detail in formats.qualified_name(item.topologyKey):
            yield fielderrors.invalid(f"{path}.topologyKey", item.topologyKey, detail)
    if item.whenUnsatisfiable not in (DO_NOT_SCHEDULE, SCHEDULE_ANYWAY):
        choices = (DO_NOT_SCHEDULE, SCHEDULE_ANYWAY)
        yield fielderrors.not_supported(f"{path}.whenUnsatisfiable", item.whenUnsatisfiable, choices)
    yield from _min_domains(item, f"{path}.minDomains")
    yield from affinity.label_keys(item, (), path)
    if item.HasField("labelSelector"):
        yield from labelselectors.validate(item.labelSelector, f"{path}.labelSelector")


def _min_domains(item: Any, path: str) -> Iterator[Cause]:
    if not item.HasField("minDomains"):
        return
    if item.minDomains <= 0:
        yield fielderrors.invalid(path, item.minDomains, _POSITIVE)
    if item.whenUnsatisfiable != DO_NOT_SCHEDULE:
        text = f"can only use minDomains if whenUnsatisfiable={DO_NOT_SCHEDULE}, not {item.whenUnsatisfiable}"
        yield fielderrors.invalid(path, item.minDomains, text)
