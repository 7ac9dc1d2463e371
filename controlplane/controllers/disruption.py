"""How many nodes of a zone have failed, and how fast pods may therefore be evicted. Pure.

When most nodes seem to have failed, the likelier cause is the network or the observer, and evicting all their pods would turn
an outage of the control plane into one of the workloads. Source: the node lifecycle controller of kube-controller-manager
("Rate limits on eviction" in Kubernetes' documentation on nodes).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Disruption(enum.Enum):
    NORMAL = "Normal"
    PARTIAL = "PartialDisruption"
    FULL = "FullDisruption"


@dataclass(frozen=True, slots=True)
class EvictionRates:
    """`normal` and `secondary` in nodes a second and zone; `secondary` is for zones in partial disruption with more than
    `large` nodes (smaller ones: none); `threshold` is the share of NotReady nodes from which that is the case."""

    normal: float = 0.1
    secondary: float = 0.01
    threshold: float = 0.55
    large: int = 50


# Names of a line whose place is counted exactly; the later ones ask again no sooner than these.
_LINE = 30
# A few failed nodes are no sign of a disruption, however small the zone.
_FEW = 2


def state_of(ready: int, not_ready: int, threshold: float) -> Disruption:
    """Of a zone with so many nodes."""
    if not_ready and not ready:
        return Disruption.FULL
    if not_ready > _FEW and not_ready / (ready + not_ready) >= threshold:
        return Disruption.PARTIAL
    return Disruption.NORMAL


class Zones:
    """The state of each zone."""

    def __init__(self, nodes: Iterable[tuple[str, bool]], rates: EvictionRates) -> None:
        """`nodes`: the zone of each and whether it is ready."""
        counts: dict[str, list[int]] = {}
        for zone, ready in nodes:
            counts.setdefault(zone, [0, 0])[ready] += 1
        self._sizes = {zone: sum(count) for zone, count in counts.items()}
        self._states = {zone: state_of(ready, not_ready, rates.threshold) for zone, (not_ready, ready) in counts.items()}
        self._rates = rates

    def state(self, zone: str) -> Disruption:
        return self._states.get(zone, Disruption.NORMAL)

    @property
    def all_failed(self) -> bool:
        """Whether no zone has a ready node: then nothing may be evicted, and what began ends."""
        return bool(self._states) and all(state is Disruption.FULL for state in self._states.values())

    def rate(self, zone: str) -> float:
        """Nodes a second whose pods may be evicted."""
        if self.all_failed:
            return 0.0
        # A zone that failed as a whole, next to others that work, is a real failure.
        if self.state(zone) is not Disruption.PARTIAL:
            return self._rates.normal
        return self._rates.secondary if self._sizes[zone] > self._rates.large else 0.0


class RateLimiter:
    """Grants to names, one at a time: a token bucket of size one. A name that was granted stays so until it is released."""

    def __init__(self) -> None:
        self._last = float("-inf")
        self._granted: set[str] = set()
        # In order of arrival.
        self._waiting: dict[str, None] = {}

    def grant(self, name: str, now: float, rate: float) -> float:
        """Seconds until it is worth to ask again; 0: granted. `rate` in grants a second, above 0."""
        if name in self._granted:
            return 0.0
        self._waiting.setdefault(name)
        if now >= self._last + 1 / rate:
            del self._waiting[name]
            self._granted.add(name)
            self._last = now
            return 0.0
        # Those before it take the next tokens; of many, the place in line need not be exact.
        place = next((index for index, other in zip(range(_LINE), self._waiting, strict=False) if other == name), _LINE)
        return self._last + (place + 1) / rate - now

    def release(self, name: str) -> None:
        self._granted.discard(name)
        self._waiting.pop(name, None)
