"""Conditions of a status: set one by type, moving its transition time only when it changes."""

from __future__ import annotations

from typing import Any

from pinnace import codec


def find(status: Any, type_: str) -> Any | None:
    return next((condition for condition in status.conditions if condition.type == type_), None)


def put(status: Any, type_: str, value: str, *, now: float, reason: str = "", message: str = "") -> bool:
    """Set the condition; returns whether anything changed."""
    condition = find(status, type_)
    if condition is None:
        condition = status.conditions.add(type=type_)
    if (condition.status, condition.reason, condition.message) == (value, reason, message):
        return False
    if condition.status != value:
        condition.lastTransitionTime.CopyFrom(codec.time_of(now))
    condition.status, condition.reason, condition.message = value, reason, message
    return True
