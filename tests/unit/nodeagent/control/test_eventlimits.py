"""Limits of events, with client-go's numbers."""

from __future__ import annotations

from nodeagent.control.eventlimits import BURST, COMBINED, MAX_KEYS, MAX_SIMILAR, REFILL_EVERY, EventLimits

POD = ("Pod", "default", "web", "u1")
UNHEALTHY = ("Warning", "Unhealthy")


def test_a_probe_that_fails_differently_each_second_makes_a_bounded_number_of_events() -> None:
    limits = EventLimits()
    said = [limits.admit(POD, UNHEALTHY, f"failed at {second}", float(second)) for second in range(3600)]
    sent = [message for message in said if message is not None]
    assert len(sent) <= BURST + 3600 / REFILL_EVERY + 1
    assert len(set(sent)) == MAX_SIMILAR + 1
    assert next(message for message in sent if message.startswith(COMBINED)) == COMBINED + f"failed at {MAX_SIMILAR}"


def test_other_objects_have_budgets_of_their_own() -> None:
    limits = EventLimits()
    for second in range(100):
        limits.admit(POD, UNHEALTHY, str(second), float(second))
    assert limits.admit(POD, ("Normal", "Started"), "Started container main", 100.0) is None
    assert limits.admit(("Pod", "default", "other", "u2"), UNHEALTHY, "failed", 100.0) == "failed"


def test_a_budget_comes_back_and_similar_messages_are_forgotten() -> None:
    limits = EventLimits()
    for second in range(60):
        limits.admit(POD, UNHEALTHY, str(second), float(second))
    assert limits.admit(POD, UNHEALTHY, "later", 60.0 + REFILL_EVERY) == COMBINED + str(MAX_SIMILAR)
    assert limits.admit(POD, UNHEALTHY, "anew", 60.0 + REFILL_EVERY + 700) == "anew"


def test_the_same_message_is_one_event_however_often() -> None:
    """The control plane counts it."""
    limits = EventLimits()
    assert {limits.admit(POD, UNHEALTHY, "failed", 400.0 * n) for n in range(50)} == {"failed"}


def test_what_is_remembered_is_bounded() -> None:
    limits = EventLimits()
    for number in range(MAX_KEYS + 100):
        limits.admit(("Pod", "default", str(number), ""), UNHEALTHY, "failed", 0.0)
    assert len(limits._budgets._items) == len(limits._similar._items) == MAX_KEYS
