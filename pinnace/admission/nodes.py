"""Nodes: labels and taints."""

from __future__ import annotations

from typing import Any

from pinnace.errors import Cause


def validate(message: Any) -> list[Cause]:
    seen: set[tuple[str, str]] = set()
    faults = []
    for index, taint in enumerate(message.spec.taints):
        if (taint.key, taint.effect) in seen:
            faults.append(Cause(f"spec.taints[{index}]", f"Duplicate value: {taint.key}:{taint.effect}"))
        seen.add((taint.key, taint.effect))
    return faults
