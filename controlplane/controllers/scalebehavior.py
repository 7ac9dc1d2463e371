"""How fast the replicas of an autoscaled workload may change: stabilization windows, policies, and bounds. Pure.

Times are seconds of one clock, which the caller chooses.
Source: kube-controller-manager's horizontal.go (stabilizeRecommendation, convertDesiredReplicasWithBehaviorRate).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pinnace.admission.horizontalpodautoscalers import DISABLED, MIN, PODS
from pinnace.autoscaling.v2.horizontalpodautoscaler_pb2 import HorizontalPodAutoscalerBehavior, HPAScalingRules

# Without policies, replicas are doubled at most, or raised to this number.
_FACTOR, _LEAST = 2, 4
_WITHIN = "DesiredWithinRange", "the desired count is within the acceptable range"
_TOO_MANY = "TooManyReplicas", "the desired replica count is more than the maximum replica count"
_TOO_FEW = "TooFewReplicas", "the desired replica count is less than the minimum replica count"
_UP_LIMIT = "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"
_DOWN_LIMIT = "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"
_DOWN_STABLE = (
    "ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation",
)  # fmt: skip
_UP_STABLE = (
    "ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation",
)  # fmt: skip
_READY = "ReadyForNewScale", "recommended size matches current size"


@dataclass(frozen=True, slots=True)
class Point:
    """A recommendation, or replicas that were added or removed, and when."""

    time: float
    value: int


@dataclass(frozen=True, slots=True)
class History:
    """Earlier recommendations and changes of one autoscaler, oldest first."""

    recommendations: tuple[Point, ...] = ()
    added: tuple[Point, ...] = ()
    removed: tuple[Point, ...] = ()

    def recommended(self, now: float, value: int, *, keep: float) -> History:
        """With a new recommendation; only those of the last `keep` seconds that are the highest or the lowest since their time
        stay, as no other can decide."""
        highest = lowest = value
        kept = [Point(now, value)]
        for point in reversed(self.recommendations):
            if point.time < now - keep:
                break
            if not lowest <= point.value <= highest:
                kept.append(point)
            highest, lowest = max(highest, point.value), min(lowest, point.value)
        return replace(self, recommendations=tuple(reversed(kept)))

    def scaled(self, now: float, before: int, after: int, behavior: HorizontalPodAutoscalerBehavior) -> History:
        """With a change of the replicas, and without those that no policy looks back at."""
        since = now - max(_longest(behavior.scaleUp), _longest(behavior.scaleDown))
        added, removed = (_recent(points, since) for points in (self.added, self.removed))
        if after > before:
            return replace(self, added=_with(added, now, after - before), removed=removed)
        return replace(self, added=added, removed=_with(removed, now, before - after))


def _longest(rules: HPAScalingRules) -> int:
    return max((policy.periodSeconds for policy in rules.policies), default=0)


def _recent(points: Iterable[Point], since: float) -> tuple[Point, ...]:
    return tuple(point for point in points if point.time > since)


def _with(points: tuple[Point, ...], now: float, value: int) -> tuple[Point, ...]:
    """With one more change. Those of one second count as one, at the later time, so that their number has a bound."""
    if points and now - points[-1].time < 1.0:
        return (*points[:-1], Point(now, points[-1].value + value))
    return (*points, Point(now, value))


@dataclass(frozen=True, slots=True)
class Wanted:
    """A proposal of the metrics: `current` and `desired` replicas and their bounds."""

    current: int
    desired: int
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The replicas to have. Reason and message of AbleToScale, and of ScalingLimited, which is True if `limited`."""

    replicas: int
    able: tuple[str, str]
    limit: tuple[str, str]
    limited: bool


def decide(wanted: Wanted, history: History, now: float, window: float) -> Verdict:
    """Of an autoscaler without a behavior; `window`: seconds of stabilization of fewer replicas."""
    recent = [point.value for point in history.recommendations if point.time >= now - window]
    stable = max(wanted.desired, *recent) if recent else wanted.desired
    rate = max(_FACTOR * wanted.current, _LEAST)
    most, reason = (rate, _UP_LIMIT) if wanted.most > rate else (wanted.most, _TOO_MANY)
    able = _READY if stable == wanted.desired else _DOWN_STABLE
    if stable < wanted.least:
        return Verdict(wanted.least, able, _TOO_FEW, True)
    return Verdict(most, able, reason, True) if stable > most else Verdict(stable, able, _WITHIN, False)


def decide_by(behavior: HorizontalPodAutoscalerBehavior, wanted: Wanted, history: History, now: float) -> Verdict:
    """Of an autoscaler with a behavior that has its defaults."""
    up, down = behavior.scaleUp, behavior.scaleDown
    points = history.recommendations
    lowest = min([wanted.desired, *_values(points, now - up.stabilizationWindowSeconds)])
    highest = max([wanted.desired, *_values(points, now - down.stabilizationWindowSeconds)])
    stable = min(max(wanted.current, lowest), highest)
    able = _READY
    if stable != wanted.desired:
        able = _UP_STABLE if wanted.desired >= wanted.current else _DOWN_STABLE
    allowed, reason = stable, _WITHIN
    if stable > wanted.current:
        limit = max(_most(up, wanted.current, history, now), wanted.current)
        allowed, reason = (limit, _UP_LIMIT) if wanted.most > limit else (wanted.most, _TOO_MANY)
        allowed = min(allowed, stable)
    elif stable < wanted.current:
        limit = min(_fewest(down, wanted.current, history, now), wanted.current)
        allowed, reason = (limit, _DOWN_LIMIT) if wanted.least < limit else (wanted.least, _TOO_FEW)
        allowed = max(allowed, stable)
    limited = allowed != stable
    return Verdict(allowed, able, reason if limited else _WITHIN, limited)


def _values(points: Iterable[Point], since: float) -> list[int]:
    return [point.value for point in points if point.time > since]


def _most(rules: HPAScalingRules, current: int, history: History, now: float) -> int:
    """The replicas that policies allow to rise to."""
    if rules.selectPolicy == DISABLED:
        return current
    found = []
    for policy in rules.policies:
        start = _at_start(policy.periodSeconds, current, history, now)
        found.append(start + policy.value if policy.type == PODS else -(-start * (100 + policy.value) // 100))
    return min(found) if rules.selectPolicy == MIN else max(found)


def _fewest(rules: HPAScalingRules, current: int, history: History, now: float) -> int:
    """The replicas that policies allow to fall to."""
    if rules.selectPolicy == DISABLED:
        return current
    found = []
    for policy in rules.policies:
        start = _at_start(policy.periodSeconds, current, history, now)
        found.append(start - policy.value if policy.type == PODS else math.trunc(start * (100 - policy.value) / 100))
    return max(found) if rules.selectPolicy == MIN else min(found)


def _at_start(period: int, current: int, history: History, now: float) -> int:
    """The replicas at the beginning of a period that ends now."""
    return current - sum(_values(history.added, now - period)) + sum(_values(history.removed, now - period))
