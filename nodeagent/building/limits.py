"""What one RUN may use. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pinnace import podresources

# Least and most of what a build may ask for, in bytes and millicores; the kernel runs no process in less.
MIN_MEMORY, MIN_CPU = 6 << 20, 10
MAX_MEMORY, MAX_CPU = 1 << 50, 1_000_000


@dataclass(frozen=True, slots=True)
class RunLimits:
    """`memory` in bytes, `cpu` in millicores (0 for either: the node's default), `deadline` in seconds."""

    memory: int = 0
    cpu: int = 0
    deadline: float = 3600.0


def of_node(usable: Mapping[str, int]) -> RunLimits:
    """Defaults: half of the memory that pods may use together, and all of their CPU, of which builds have the least weight."""
    return RunLimits(usable.get(podresources.MEMORY, 0) // 2, usable.get(podresources.CPU, 0))
