"""When schedules come due: days, time zones, changes of the clock, and intervals."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.controllers import crontimes
from pinnace import cronexpressions

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def after(schedule: str, start: str, zone: object = UTC) -> str:
    found = crontimes.after(cronexpressions.parse(schedule), at(start), at(start), zone)  # type: ignore[arg-type]
    return datetime.fromtimestamp(found, UTC).isoformat(sep=" ", timespec="minutes")[:16] if found is not None else ""


@pytest.mark.parametrize(
    ("schedule", "start", "expected"),
    [
        ("*/15 * * * *", "2026-03-01 10:15", "2026-03-01 10:30"),
        ("5/20 * * * *", "2026-03-01 10:26", "2026-03-01 10:45"),
        ("0 0 29 2 *", "2026-03-01 00:00", "2028-02-29 00:00"),
        ("0 9 * * MON", "2026-03-01 10:00", "2026-03-02 09:00"),
        # The 10th or a Monday; every second day or a Monday, since only a plain * lets the other field decide.
        ("0 0 10 * 1", "2026-03-03 00:00", "2026-03-09 00:00"),
        ("0 0 */2 * 1", "2026-03-01 00:00", "2026-03-02 00:00"),
        ("0 0 30 2 *", "2026-03-01 00:00", ""),
        ("@weekly", "2026-03-03 00:00", "2026-03-08 00:00"),
        ("@every 90m", "2026-03-01 10:00", "2026-03-01 11:30"),
    ],
)  # fmt: skip
def test_the_next_time(schedule: str, start: str, expected: str) -> None:
    """In UTC."""
    assert after(schedule, start) == expected


@pytest.mark.parametrize(
    ("schedule", "start", "expected"),
    [
        ("0 9 * * *", "2026-01-05 09:00", "2026-01-06 08:00"),
        ("0 9 * * *", "2026-07-05 09:00", "2026-07-06 07:00"),
        # 02:30 does not exist on 29 March, and comes twice on 25 October.
        ("30 2 * * *", "2026-03-28 12:00", "2026-03-29 01:00"),
        ("30 2 * * *", "2026-10-24 12:00", "2026-10-25 00:30"),
        ("30 2 * * *", "2026-10-25 00:30", "2026-10-26 01:30"),
    ],
)  # fmt: skip
def test_a_time_zone_and_its_changes_of_the_clock(schedule: str, start: str, expected: str) -> None:
    """A day has each time once."""
    assert after(schedule, start, BERLIN) == expected


SCHEDULES = st.sampled_from(["*/7 * * * *", "30 2 * * *", "15 */5 * * *", "0 0 1,15 * 5", "@every 50m", "@monthly"])


@given(SCHEDULES, st.integers(at("2026-01-01"), at("2026-12-31")), st.integers(0, 400_000), st.sampled_from([UTC, BERLIN]))
def test_the_latest_time_is_the_last_of_the_next_ones(schedule: str, start: int, span: int, zone: timedelta) -> None:
    """Searching backwards finds what stepping forwards does."""
    parsed, now, found = cronexpressions.parse(schedule), start + span, None
    step: float | None = start
    while (step := crontimes.after(parsed, start, step, zone)) is not None and step <= now:  # type: ignore[arg-type]
        found = int(step)
    assert crontimes.latest(parsed, start, now, zone) == found  # type: ignore[arg-type]


@pytest.mark.parametrize(("minutes", "many"), [(100, False), (103, True), (5_000_000, True)])
def test_many_missed_times_are_noticed(minutes: int, many: bool) -> None:
    """Without looking at each of them."""
    start = at("2026-01-01 00:00")
    assert crontimes.are_many(cronexpressions.parse("* * * * *"), start, start + 60 * minutes, UTC) == many
