"""Affinity of pods: rules between its fields.

Source: core/v1's validateAffinity.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, nodeselectors
from pinnace.errors import Cause

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def validate(affinity: Any, path: str) -> Iterator[Cause]:
    """Every error of a pod's affinity at `path`."""
    if affinity.HasField("nodeAffinity"):
        yield from _node_affinity(affinity.nodeAffinity, f"{path}.nodeAffinity")


def _node_affinity(item: Any, path: str) -> Iterator[Cause]:
    if item.HasField(REQUIRED):
        yield from nodeselectors.validate(item.requiredDuringSchedulingIgnoredDuringExecution, f"{path}.{REQUIRED}")
    for index, preferred in enumerate(item.preferredDuringSchedulingIgnoredDuringExecution):
        where = f"{path}.{PREFERRED}[{index}]"
        yield from _weight(preferred.weight, where)
        yield from nodeselectors.validate_term(preferred.preference, f"{where}.preference", label_values=False)


def _weight(weight: int, path: str) -> Iterator[Cause]:
    if not 1 <= weight <= 100:
        yield fielderrors.invalid(f"{path}.weight", weight, "must be in the range 1-100")
