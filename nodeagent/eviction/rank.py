"""Which pod goes first: those that use more than they asked for, then the lower priority, then the greater excess. Pure.

Source: kubelet's ranking (rankMemoryPressure, rankDiskPressureFunc, rankPIDPressure). QoS is no criterion of its own: a
Guaranteed pod cannot exceed its requests, and one without requests exceeds them with its first byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pod that may be evicted. `used` and `requested` by resource: memory and ephemeral-storage in bytes, inodes,
    pids; a resource that could not be measured is absent from `used`."""

    uid: str
    priority: int = 0
    used: Mapping[str, int] = field(default_factory=dict)
    requested: Mapping[str, int] = field(default_factory=dict)


def rank(resource: str, candidates: Iterable[Candidate]) -> list[Candidate]:
    """First to go first. What cannot be measured goes before what can."""
    return sorted(candidates, key=lambda item: _key(resource, item))


def _key(resource: str, item: Candidate) -> tuple[bool, bool, int, int]:
    used = item.used.get(resource)
    if used is None:
        return False, False, item.priority, 0
    if resource == "pids":
        # Processes cannot be requested.
        return True, False, item.priority, -used
    asked = item.requested.get(resource, 0)
    return True, used <= asked, item.priority, asked - used
