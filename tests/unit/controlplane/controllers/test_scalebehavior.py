"""How fast replicas may change, case by case with the numbers of Kubernetes' horizontal_test.go (1.37), and as properties."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.controllers import scalebehavior
from controlplane.controllers.scalebehavior import History, Point, Wanted
from pinnace import codec, kinds
from pinnace.admission import horizontalpodautoscalers
from pinnace.autoscaling.v2.horizontalpodautoscaler_pb2 import HorizontalPodAutoscalerBehavior

NOW = 1_000_000.0
MINUTE = 60.0


def behavior(up: dict[str, Any] | None = None, down: dict[str, Any] | None = None) -> HorizontalPodAutoscalerBehavior:
    """With the defaults of the API, and a window of five minutes for fewer replicas."""
    value: dict[str, Any] = {"scaleDown": {"stabilizationWindowSeconds": 300, **(down or {})}}
    if up is not None:
        value["scaleUp"] = up
    item = codec.decode(kinds.HORIZONTAL_POD_AUTOSCALER.cls, {"spec": {"behavior": value}})
    horizontalpodautoscalers.default(item)
    found: HorizontalPodAutoscalerBehavior = item.spec.behavior
    return found


def rules(pods: tuple[int, int] | None = None, percent: tuple[int, int] | None = None, **more: Any) -> dict[str, Any]:
    """Policies, each a value and a period."""
    found = [
        {"type": type_, "value": policy[0], "periodSeconds": policy[1]}
        for type_, policy in (("Pods", pods), ("Percent", percent))
        if policy is not None
    ]
    return {"policies": found, **more}


def spread(*values: int, over: float = 120.0) -> tuple[Point, ...]:
    """Changes in the middle of equal parts of the last seconds."""
    part = over / len(values)
    return tuple(Point(NOW - over + part * (index + 0.5), value) for index, value in enumerate(values))


OK, MANY, FEW, UP, DOWN = "DesiredWithinRange", "TooManyReplicas", "TooFewReplicas", "ScaleUpLimit", "ScaleDownLimit"


@pytest.mark.parametrize(
    ("current", "desired", "bounds", "replicas", "reason"),
    [(5, 7, (3, 8), 7, OK), (3, 1, (2, 8), 2, FEW), (20, 1000, (1, 10), 10, MANY), (3, 1000, (1, 2000), 6, UP), (1, 9, (1, 9), 4, UP)],
)  # fmt: skip
def test_without_a_behavior(current: int, desired: int, bounds: tuple[int, int], replicas: int, reason: str) -> None:
    """Replicas are at most doubled, or raised to four."""
    found = scalebehavior.decide(Wanted(current, desired, *bounds), History(), NOW, 300)
    assert (found.replicas, found.limit[0], found.limited) == (replicas, reason, reason != OK)


@pytest.mark.parametrize(
    ("up", "down", "history", "current", "desired", "bounds", "replicas", "reason"),
    [
        pytest.param(None, None, History(), 5, 7, (3, 8), 7, OK, id="within the bounds"),
        pytest.param(None, None, History(), 3, 1, (2, 8), 2, FEW, id="below the least"),
        pytest.param(None, None, History(), 100, 1000, (100, 150), 150, MANY, id="above the most"),
        pytest.param(None, None, History(), 10, 50, (1, 1000), 20, UP, id="up by default"),
        pytest.param(None, None, History(), 1, 50, (1, 1000), 5, UP, id="up by default from one"),
        pytest.param(rules(percent=(1, 60)), None, History(), 3, 1000, (1, 2000), 4, UP, id="up by a percentage, rounded up"),
        pytest.param(rules((100, 60), (100, 60)), None, History(), 10, 500, (1, 1000), 110, UP, id="up by the larger of two"),
        pytest.param(rules((2, 60), (100, 60)), None, History(), 10, 500, (1, 1000), 20, UP, id="up by the larger of two, a percentage"),
        pytest.param(rules((2, 60), (50, 60), selectPolicy="Min"), None, History(), 1, 500, (1, 1000), 2, UP, id="up by the smaller of two"),
        pytest.param(rules(selectPolicy="Disabled"), None, History(), 10, 500, (1, 1000), 10, UP, id="up disabled"),
        pytest.param(rules((100, 60)), None, History(), 10, 50, (1, 1000), 50, OK, id="up within a policy"),
        pytest.param(rules((30, 60)), None, History(), 10, 50, (1, 1000), 40, UP, id="up by pods"),
        pytest.param(rules(percent=(200, 60)), None, History(), 10, 50, (1, 1000), 30, UP, id="up by a percentage"),
        pytest.param(None, rules((20, 60), (1, 60)), History(), 100, 2, (1, 1000), 80, DOWN, id="down by the larger of two"),
        pytest.param(None, rules((2, 60), (50, 60), selectPolicy="Min"), History(), 5, 1, (1, 1000), 3, DOWN, id="down by the smaller of two"),
        pytest.param(None, rules(selectPolicy="Disabled"), History(), 10, 1, (1, 1000), 10, DOWN, id="down disabled"),
        pytest.param(None, rules((100, 60)), History(), 10, 0, (1, 1000), 1, FEW, id="down to the least"),
        pytest.param(None, rules((5, 60)), History(), 10, 2, (1, 1000), 5, DOWN, id="down by pods"),
        pytest.param(None, rules(percent=(50, 60)), History(), 10, 5, (1, 1000), 5, OK, id="down within a policy"),
        pytest.param(rules((300, 60)), None, History(added=spread(1, 5, 9)), 100, 500, (1, 200), 200, MANY, id="up after changes, to the most"),
        pytest.param(rules((5, 120)), None, History(added=spread(1, 5, 9)), 100, 500, (1, 1000), 100, UP, id="up after more than a policy allows"),
        pytest.param(rules((150, 120)), None, History(added=spread(1, 5, 9)), 100, 500, (1, 1000), 235, UP, id="up after changes, by pods"),
        pytest.param(rules(percent=(200, 120)), None, History(added=spread(1, 5, 9)), 100, 500, (1, 1000), 255, UP, id="up after changes, by a percentage"),
        pytest.param(rules(percent=(300, 300)), None, History(added=spread(4), removed=spread(2)), 6, 24, (1, 1000), 16, UP, id="up after changes in both directions"),
        pytest.param(None, None, History(removed=spread(1, 5, 9)), 10, 5, (1, 1000), 5, OK, id="down by default after changes"),
        pytest.param(None, rules((5, 120)), History(removed=spread(1, 5, 9)), 100, 2, (1, 1000), 100, DOWN, id="down after more than a policy allows"),
        pytest.param(None, rules(percent=(50, 120)), History(removed=spread(2, 4, 6)), 100, 0, (1, 1000), 56, DOWN, id="down after changes, by a percentage"),
        pytest.param(None, rules(percent=(50, 180)), History(added=spread(2), removed=spread(4)), 10, 1, (1, 1000), 6, DOWN, id="down after changes in both directions"),
        pytest.param(None, rules(percent=(10, 120)), History(removed=spread(10, 10, 10)), 100, 0, (1, 1000), 100, DOWN, id="down prevented by earlier changes"),
        pytest.param(None, rules(percent=(1000, 120)), History(removed=spread(10, 10, 10)), 10, 5, (1, 1000), 5, OK, id="down by more than all"),
    ],
)  # fmt: skip
def test_policies(
    up: dict[str, Any] | None, down: dict[str, Any] | None, history: History, current: int, desired: int, bounds: tuple[int, int],
    replicas: int, reason: str,
) -> None:  # fmt: skip
    """A policy bounds the change since the beginning of its period, earlier changes included."""
    found = scalebehavior.decide_by(behavior(up, down), Wanted(current, desired, *bounds), history, NOW)
    assert (found.replicas, found.limit[0], found.limited) == (replicas, reason, reason != OK)


def minutes(*points: tuple[int, float]) -> History:
    """Recommendations, each so many minutes ago."""
    return History(tuple(Point(NOW - ago * MINUTE, value) for value, ago in points))


READY, UP_STABLE, DOWN_STABLE = "ReadyForNewScale", "ScaleUpStabilized", "ScaleDownStabilized"


@pytest.mark.parametrize(
    ("windows", "history", "current", "desired", "replicas", "reason"),
    [
        ((0, 0), History(), 100, 5, 5, READY),
        ((0, 180), minutes((4, 2), (5, 1)), 100, 3, 5, DOWN_STABLE),
        ((300, 0), minutes((4, 2), (5, 1)), 1, 7, 4, UP_STABLE),
        ((300, 0), minutes((1, 2), (2, 1)), 100, 3, 3, READY),
        ((0, 300), minutes((4, 2), (5, 1)), 1, 3, 3, READY),
        ((0, 0), minutes((10, 10), (9, 9)), 100, 3, 3, READY),
        ((0, 0), minutes((10, 10), (9, 9)), 1, 100, 100, READY),
        ((0, 180), minutes((10, 10), (9, 9), (5, 2), (4, 1)), 100, 3, 5, DOWN_STABLE),
        ((300, 300), minutes((10, 100), (9, 3), (5, 2), (6, 1)), 1, 100, 5, UP_STABLE),
        ((300, 300), minutes((2, 100), (3, 3)), 2, 1, 2, DOWN_STABLE),
        ((300, 300), minutes((2, 100), (1, 3)), 2, 3, 2, UP_STABLE),
    ],
)  # fmt: skip
def test_stabilization_windows(
    windows: tuple[int, int], history: History, current: int, desired: int, replicas: int, reason: str
) -> None:  # fmt: skip
    """Of the recommendations in a window the safest counts: the lowest for more replicas, the highest for fewer."""
    up, down = ({"stabilizationWindowSeconds": window, **rules((1000, 15))} for window in windows)
    found = scalebehavior.decide_by(behavior(up, down), Wanted(current, desired, 1, 1000), history, NOW)
    assert (found.replicas, found.able[0]) == (replicas, reason)


def test_a_window_without_a_behavior() -> None:
    """The highest recommendation counts until it is older than the window."""
    history = History((Point(NOW - 300, 7), Point(NOW - 10, 3)))
    assert scalebehavior.decide(Wanted(5, 2, 1, 10), history, NOW, 300).replicas == 7
    found = scalebehavior.decide(Wanted(5, 2, 1, 10), history, NOW + 1, 300)
    assert (found.replicas, found.able[0]) == (3, DOWN_STABLE)


points = st.lists(st.tuples(st.floats(0.1, 100), st.integers(0, 20)), max_size=30)


@given(
    steps=points,
    windows=st.tuples(st.integers(0, 300), st.integers(0, 300)),
    desired=st.integers(0, 20),
    current=st.integers(1, 20),
)
def test_recommendations_that_are_dropped_decide_nothing(
    steps: list[tuple[float, int]], windows: tuple[int, int], desired: int, current: int
) -> None:
    """The history keeps those that can still be the highest or the lowest of a window; the decision is that of all."""
    now, kept, every = NOW, History(), list[Point]()
    for step, value in steps:
        now += step
        kept = kept.recommended(now, value, keep=max(windows))
        every.append(Point(now, value))
    up, down = ({"stabilizationWindowSeconds": window} for window in windows)
    wanted, by = Wanted(current, desired, 1, 1000), behavior(up, down)
    assert scalebehavior.decide_by(by, wanted, kept, now) == scalebehavior.decide_by(by, wanted, History(tuple(every)), now)
    assert len(kept.recommendations) <= len(every)


policies = st.lists(
    st.tuples(st.sampled_from(("Pods", "Percent")), st.integers(1, 50), st.integers(15, 120)), min_size=1, max_size=3
)


def policy_rules(found: list[tuple[str, int, int]], select: str) -> dict[str, Any]:
    return {
        "selectPolicy": select,
        "stabilizationWindowSeconds": 0,
        "policies": [{"type": type_, "value": value, "periodSeconds": period} for type_, value, period in found],
    }


@given(
    up=policies, down=policies, select=st.sampled_from(("Max", "Min")), wishes=st.lists(st.integers(0, 200), min_size=1, max_size=40)
)  # fmt: skip
def test_the_replicas_of_any_load_stay_within_bounds_and_policies(
    up: list[tuple[str, int, int]], down: list[tuple[str, int, int]], select: str, wishes: list[int]
) -> None:
    """Never below the least or above the most. In no period more pods are added or removed, net, than some policy allows, and
    than each does with Min."""
    by = behavior(policy_rules(up, select), policy_rules(down, select))
    now, current, history, states = NOW, 10, History(), [(NOW, 10)]
    every = all if select == "Min" else any
    for wish in wishes:
        now += 15.0
        found = scalebehavior.decide_by(by, Wanted(current, wish, 2, 100), history, now)
        assert 2 <= found.replicas <= 100
        if found.replicas > current:
            assert every(found.replicas <= _highest(policy, _at(states, now - policy[2])) for policy in up)
        if found.replicas < current:
            assert every(found.replicas >= _lowest(policy, _at(states, now - policy[2])) for policy in down)
        history = history.recommended(now, wish, keep=0)
        if found.replicas != current:
            history = history.scaled(now, current, found.replicas, by)
            current = found.replicas
        states.append((now, current))


def _at(states: list[tuple[float, int]], time: float) -> int:
    """The replicas after every change up to a time."""
    return next((replicas for since, replicas in reversed(states) if since <= time), states[0][1])


def _highest(policy: tuple[str, int, int], start: int) -> int:
    return start + policy[1] if policy[0] == "Pods" else -(-start * (100 + policy[1]) // 100)


def _lowest(policy: tuple[str, int, int], start: int) -> int:
    return start - policy[1] if policy[0] == "Pods" else start * (100 - policy[1]) // 100


@given(load=st.integers(1, 100), start=st.integers(1, 100))
def test_a_constant_wish_is_reached_and_kept(load: int, start: int) -> None:
    """By the defaults, with and without a behavior, within ten minutes; then nothing changes any more."""
    for by in (None, behavior()):
        now, current, history = NOW, start, History()
        seen = []
        for _ in range(60):
            now += 15.0
            wanted = Wanted(current, load, 1, 100)
            found = (
                scalebehavior.decide(wanted, history, now, 300)
                if by is None
                else scalebehavior.decide_by(by, wanted, history, now)
            )
            history = history.recommended(now, load, keep=300)
            if by is not None and found.replicas != current:
                history = history.scaled(now, current, found.replicas, by)
            current = found.replicas
            seen.append(current)
        assert seen[-20:] == [load] * 20


def test_changes_of_one_second_are_one() -> None:
    """So that the history has a bound, at the later time."""
    by = behavior(rules((4, 60)))
    history = History().scaled(NOW, 1, 2, by).scaled(NOW + 0.5, 2, 4, by).scaled(NOW + 2, 4, 5, by)
    assert history.added == (Point(NOW + 0.5, 3), Point(NOW + 2, 1))
    assert history.scaled(NOW + 61, 5, 4, by) == History(added=history.added[1:], removed=(Point(NOW + 61, 1),))
