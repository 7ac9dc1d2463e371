"""Usage of pods as it was last measured: a snapshot that `usagecollector` replaces and controllers read. No I/O.

A controller decides in a transaction and cannot wait for agents, so what they measured has to be there before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pinnace.usage import Use


@dataclass(frozen=True, slots=True)
class PodUse:
    """Usage of a pod's containers by name. `time`: when its node measured it, in seconds since the epoch by the node's clock;
    `window`: seconds over which the use of processors is averaged."""

    time: float
    window: float
    containers: Mapping[str, Use]


@dataclass(slots=True)
class PodUsage:
    """The pods that were measured in the last round, by UID, and the UIDs of the autoscalers whose pods it covered.

    One writer: the collector, which replaces both."""

    pods: Mapping[str, PodUse] = field(default_factory=dict)
    covered: frozenset[str] = frozenset()
