"""Watched time: it runs while changes are observed, and stands still while the observer cannot see any."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.controllers.watchedtime import MAX_GAP, WatchedTime


def test_it_runs_with_the_clock_while_changes_come() -> None:
    """Between two changes too."""
    time = WatchedTime(100.0)
    for second in range(0, 50, 2):
        time.observe(100.0 + second)
    assert time.at(149.0) == 49.0


def test_an_interruption_counts_as_a_short_gap() -> None:
    """A suspended process, a blocked loop and a store without answer look the same."""
    time = WatchedTime(0.0)
    time.observe(2.0)
    assert time.at(3600.0) == 2.0 + MAX_GAP
    time.observe(3600.0)
    assert time.at(3601.0) == 2.0 + MAX_GAP + 1.0


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1e6)), max_size=50))
def test_it_never_goes_back(steps: list[tuple[bool, float]]) -> None:
    """However observations and questions mix."""
    time, now, last = WatchedTime(0.0), 0.0, 0.0
    for observed, seconds in steps:
        now += seconds
        if observed:
            time.observe(now)
        assert last <= time.at(now) <= now + 1e-6
        last = time.at(now)


def test_an_advance_of_the_clock_counts_in_full() -> None:
    """At once, for questions and for observations; a gap around it is cut off as ever."""
    time = WatchedTime(100.0, 40.0)
    assert time.observe(102.0, 40.0) == 2.0
    assert time.at(3702.0, 3640.0) == 3602.0
    assert time.observe(3703.0, 3640.0) == 3603.0
    assert time.at(3803.0, 3640.0) == 3603.0 + MAX_GAP
