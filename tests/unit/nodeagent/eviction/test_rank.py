"""Who goes first."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.eviction.rank import Candidate, rank


def pod(uid: str, used: int | None, asked: int = 0, priority: int = 0, resource: str = "memory") -> Candidate:
    return Candidate(uid, priority, {} if used is None else {resource: used}, {resource: asked} if asked else {})


def order(resource: str, *pods: Candidate) -> str:
    """The same whatever the order in which they come."""
    found = {"".join(item.uid for item in rank(resource, some)) for some in itertools.permutations(pods)}
    assert len(found) == 1, found
    return found.pop()


@pytest.mark.parametrize("resource", ["memory", "ephemeral-storage", "inodes"])
def test_excess_then_priority_then_amount(resource: str) -> None:
    """A pod of high priority over its request goes before one of low priority within it."""
    pods = [
        pod("a", 50, 0, priority=5, resource=resource),
        pod("b", 90, 100, priority=0, resource=resource),
        pod("c", 20, 10, priority=1, resource=resource),
        pod("d", 90, 10, priority=1, resource=resource),
        pod("e", 50, 100, priority=0, resource=resource),
    ]
    assert order(resource, *pods) == "dcabe"


def test_what_cannot_be_measured_goes_first() -> None:
    """Before those that are known to be within their requests, and before those that are not."""
    assert order("memory", pod("a", None, 10), pod("b", 50), pod("c", 1, 10)) == "abc"


def test_exactly_the_request_is_within_it() -> None:
    """More is excess."""
    assert order("memory", pod("a", 10, 10, priority=-5), pod("b", 11, 10, priority=5)) == "ba"


def test_processes_are_requested_by_nobody() -> None:
    """Priority, then how many."""
    assert (
        order("pids", pod("a", 5, priority=1, resource="pids"), pod("b", 3, resource="pids"), pod("c", 9, resource="pids"))
        == "cba"
    )


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(-2, 2)), max_size=8))
def test_nobody_within_the_request_goes_before_one_over_it(values: list[tuple[int, int, int]]) -> None:
    """Whatever else they are; and nobody is lost."""
    pods = [pod(str(number), used, asked, priority) for number, (used, asked, priority) in enumerate(values)]
    ranked = rank("memory", pods)
    over = [item.used["memory"] > item.requested.get("memory", 0) for item in ranked]
    assert over == sorted(over, reverse=True)
    assert sorted(item.uid for item in ranked) == sorted(item.uid for item in pods)
