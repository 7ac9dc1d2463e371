"""PriorityClasses: reserved names, and values that do not change.

Source: scheduling/v1's ValidatePriorityClass and ValidatePriorityClassUpdate, and its list of system classes.
"""

from __future__ import annotations

from typing import NamedTuple

from pinnace import fielderrors
from pinnace.admission.kindrules import KindRules
from pinnace.errors import Cause
from pinnace.podresources import CRITICAL_PRIORITY
from pinnace.scheduling.v1.priorityclass_pb2 import PriorityClass

SYSTEM_PREFIX = "system-"
# The highest value that a user's class may have (Kubernetes' HighestUserDefinablePriority).
MAX_VALUE = 1_000_000_000


class SystemClass(NamedTuple):
    """A class of every cluster."""

    value: int
    description: str


SYSTEM = {
    "system-cluster-critical": SystemClass(CRITICAL_PRIORITY, "For pods that the cluster needs, on whichever node."),
    "system-node-critical": SystemClass(CRITICAL_PRIORITY + 1000, "For pods that their node needs."),
}


def validate(item: PriorityClass) -> list[Cause]:
    if item.metadata.name.startswith(SYSTEM_PREFIX):
        wrong = _reserved(item)
        text = f"priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {wrong}"
        return [fielderrors.forbidden("metadata.name", text)] if wrong else []
    if item.value > MAX_VALUE:
        return [fielderrors.forbidden("value", f"maximum allowed value of a user defined priority is {MAX_VALUE}")]
    return []


def _reserved(item: PriorityClass) -> str:
    known = SYSTEM.get(item.metadata.name)
    if known is None:
        return f"{item.metadata.name} is not a known system priority class"
    if item.value != known.value:
        return f"value of {item.metadata.name} PriorityClass must be {known.value}"
    return f"globalDefault of {item.metadata.name} PriorityClass must be false" if item.globalDefault else ""


def validate_update(old: PriorityClass, new: PriorityClass) -> list[Cause]:
    return [fielderrors.forbidden("value", "may not be changed in an update.")] if old.value != new.value else []


RULES: KindRules[PriorityClass] = KindRules(validate=validate, validate_update=validate_update)
