"""The delay before a failed pod is replaced."""

from __future__ import annotations

from controlplane.controllers import failedpods
from controlplane.controllers.failedpods import FailedPods

PLACE = ("uid", 1, "n1")


def replaced(pods: FailedPods, uid: str, now: float) -> float:
    """When a pod that fails at `now` is replaced."""
    while (wait := pods.wait(PLACE, uid, now)) > 0:
        now += wait
    return now


def test_the_delay_doubles_up_to_a_quarter_of_an_hour() -> None:
    """From one second, for pods that fail as soon as they are made."""
    pods, now, delays = FailedPods(), 0.0, list[float]()
    for number in range(14):
        at = replaced(pods, f"u{number}", now)
        delays.append(at - now)
        now = at
    assert delays == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]


def test_a_pod_that_lasted_is_replaced_at_once() -> None:
    """Its life counts as delay, and half an hour resets the delay."""
    pods = FailedPods()
    for number in range(3):
        replaced(pods, f"u{number}", 0)
    assert replaced(pods, "u3", 50) == 50
    assert replaced(pods, "u4", 51) == 58
    assert replaced(pods, "u5", 58 + 1801) == 58 + 1801
    assert replaced(pods, "u6", 58 + 1801) == 58 + 1802


def test_a_pod_counts_once() -> None:
    """A reconciliation may run several times before it is committed."""
    pods = FailedPods()
    assert [pods.wait(PLACE, "u", 0) for _ in range(5)] == [0] * 5
    assert pods.wait(PLACE, "v", 0) == 1


def test_other_places_do_not_count() -> None:
    """Another node or generation; and only some are remembered."""
    pods = FailedPods()
    for number in range(failedpods.MAX_PLACES + 1):
        assert pods.wait(("uid", number, "n1"), "u", 0) == 0
    assert pods.wait(("uid", failedpods.MAX_PLACES, "n1"), "v", 0) == 1
    assert pods.wait(("uid", 0, "n1"), "v", 0) == 0
