"""The scheduling queue: order, back-off, and which pods an event retries."""

from __future__ import annotations

import pytest

from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.queue import (
    FREE_ATTEMPTS,
    MAX_BACKOFF,
    UNSCHEDULABLE_FOR,
    QueuedPod,
    SchedulingQueue,
    backoff,
    error_backoff,
)

NONE: frozenset[str] = frozenset()


def info(name: str, *, priority: int = 0, created: int = 0, uid: str = "u") -> PodInfo:
    return PodInfo(f"default/{name}", uid, priority=priority, created=created)


def names(entries: list[QueuedPod]) -> list[str]:
    return [entry.info.key.removeprefix("default/") for entry in entries]


def every(entry: QueuedPod) -> bool:
    return True


def waiting(queue: SchedulingQueue, attempts: int, *, now: float = 0.0) -> QueuedPod:
    """A pod that was rejected this often, at `now`."""
    queue.add(info("web"))
    [entry] = queue.pop(1, now)
    entry.attempts = attempts
    queue.rejected(entry, NONE)
    return entry


def test_pods_come_by_priority_then_age_then_name() -> None:
    """Also those that are added between two pops."""
    queue = SchedulingQueue()
    for item in (info("c", created=5), info("b", created=5), info("a", created=9), info("late", created=99, priority=10)):
        queue.add(item)
    assert names(queue.pop(2, 0.0)) == ["late", "b"]
    queue.add(info("first", priority=99))
    assert names(queue.pop(9, 0.0)) == ["first", "c", "a"]
    assert queue.pop(9, 0.0) == []


def test_a_pod_is_queued_once_and_again_when_it_changes() -> None:
    """A pod that is being tried is not tried twice; its change is tried at once."""
    queue = SchedulingQueue()
    queue.add(info("web"))
    queue.add(info("web"))
    [entry] = queue.pop(9, 0.0)
    queue.add(info("web"))
    assert queue.pop(9, 0.0) == []
    queue.add(info("web", priority=1))
    queue.rejected(entry, NONE)
    [changed] = queue.pop(9, 0.0)
    assert (changed.info.priority, changed.attempts) == (1, 2)
    assert queue.counts == {"active": 0, "backoff": 0, "unschedulable": 0, "in flight": 1}


def test_a_deleted_pod_is_in_no_part_of_the_queue() -> None:
    """Whichever it was in."""
    queue = SchedulingQueue()
    for prepare in ("active", "in flight", "unschedulable", "backoff"):
        queue.add(info("web"))
        if prepare != "active":
            [entry] = queue.pop(1, 0.0)
        if prepare == "unschedulable":
            queue.rejected(entry, NONE)
        if prepare == "backoff":
            queue.failed(entry, 0.0)
        assert queue.counts[prepare] == 1
        queue.delete("default/web")
        assert sum(queue.counts.values()) == len(queue) == 0
        assert queue.pop(9, 1e6) == []
        assert queue.due(0.0) is None
        assert queue.next_attempt("default/web", 0.0) == ""


def test_an_event_retries_only_the_pods_that_it_may_help() -> None:
    """At once, while they were not tried often."""
    queue = SchedulingQueue()
    for name in "ab":
        queue.add(info(name))
    for entry in queue.pop(2, 0.0):
        queue.rejected(entry, frozenset(entry.info.key[-1]))
    assert queue.activate(lambda entry: "b" in entry.plugins, 0.0) == 1
    assert names(queue.pop(9, 0.0)) == ["b"]


def test_a_pod_that_was_tried_often_waits_for_its_back_off() -> None:
    """Counted from its last attempt: one that waited long enough is tried at once."""
    queue = SchedulingQueue()
    waiting(queue, FREE_ATTEMPTS + 2)
    assert queue.next_attempt("default/web", 0.5) == "next attempt when a change may help"
    queue.activate(every, 0.5)
    assert queue.pop(9, 1.9) == []
    assert queue.next_attempt("default/web", 0.5) == "next attempt in 1.5 s"
    assert queue.due(1.5) == pytest.approx(0.5)
    assert names(queue.pop(9, 2.0)) == ["web"]
    queue = SchedulingQueue()
    waiting(queue, FREE_ATTEMPTS + 2)
    queue.activate(every, 2.0)
    assert names(queue.pop(9, 2.0)) == ["web"]


def test_an_unschedulable_pod_is_tried_again_after_a_while() -> None:
    """Without any event."""
    queue = SchedulingQueue()
    waiting(queue, 1, now=5.0)
    assert queue.due(6.0) == UNSCHEDULABLE_FOR - 1.0
    assert queue.pop(9, 5.0 + UNSCHEDULABLE_FOR - 0.1) == []
    assert names(queue.pop(9, 5.0 + UNSCHEDULABLE_FOR)) == ["web"]


def test_errors_back_off_and_a_rejection_ends_that() -> None:
    """An error is no reason to try again at once, whatever happens in the cluster."""
    queue = SchedulingQueue()
    queue.add(info("web"))
    [entry] = queue.pop(1, 0.0)
    queue.failed(entry, 0.0)
    assert queue.activate(every, 0.0) == 0
    assert queue.pop(1, 0.19) == []
    [entry] = queue.pop(1, 0.2)
    queue.rejected(entry, NONE)
    assert entry.errors == 0


@pytest.mark.parametrize("count", [0, 1, 10, 2_000, 10**9])
def test_back_offs_are_capped(count: int) -> None:
    """After any number of attempts."""
    assert 0.0 <= backoff(count) <= MAX_BACKOFF
    assert 0.0 < error_backoff(count) <= MAX_BACKOFF
