"""Which thresholds are met, which conditions the node has, and what is due now. Pure; kubelet's rules.

A condition stays for the transition period after the last time that a threshold of it was met, so that a node on the
edge does not flap. A soft threshold is due when it has been met for its grace period without a break.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nodeagent.eviction.thresholds import SIGNALS, Config, Threshold


@dataclass(frozen=True, slots=True)
class Observation:
    """Of one signal: bytes, inodes or tasks."""

    available: int
    capacity: int


Observations = Mapping[str, Observation]


@dataclass(frozen=True, slots=True)
class State:
    """What must be remembered from one look to the next; times in seconds."""

    acted_on: tuple[Threshold, ...] = ()
    since: Mapping[Threshold, float] = field(default_factory=dict)
    last_met: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """`due`: thresholds that call for action now, most urgent first."""

    state: State
    conditions: frozenset[str]
    due: tuple[Threshold, ...]


def decide(config: Config, before: State, seen: Observations, now: float) -> Decision:
    met = [item for item in config.thresholds if is_met(item, seen)]
    # What was acted on is over only once its minimum reclaim is free as well.
    met += [item for item in before.acted_on if item not in met and is_met(item, seen, reclaim=True)]
    since = {item: before.since.get(item, now) for item in met}
    last_met = {**before.last_met, **{item.condition: now for item in met}}
    conditions = frozenset(name for name, at in last_met.items() if at == now or now - at < config.transition)
    urgency = list(SIGNALS)
    due = tuple(sorted((item for item in met if now - since[item] >= item.grace), key=lambda t: urgency.index(t.signal)))
    return Decision(State(due, since, last_met), conditions, due)


def is_met(threshold: Threshold, seen: Observations, *, reclaim: bool = False) -> bool:
    """Less is left than there should be. A signal that could not be read meets nothing."""
    found = seen.get(threshold.signal)
    if found is None:
        return False
    return found.available < threshold.amount(found.capacity) + (threshold.reclaim if reclaim else 0)
