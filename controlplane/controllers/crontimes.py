"""When a schedule of a CronJob comes due. Pure.

Source: kube-controller-manager's cronjob utils.go (mostRecentScheduleTime); clock changes are those of Debian's cron.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo

from pinnace.cronexpressions import Schedule

# Missed times from which the user is warned.
MANY = 100


def _times(schedule: Schedule, start: float, zone: tzinfo, *, back: bool = False) -> Iterator[datetime]:
    """Times after `start`, or before it; none for a day that does not exist, such as 30 February."""
    # With the first CronJob.
    from cronsim import CronSim, CronSimError

    try:
        yield from CronSim(schedule.fields, datetime.fromtimestamp(int(start), UTC).astimezone(zone), reverse=back)
    except CronSimError:
        return


def after(schedule: Schedule, start: int, now: float, zone: tzinfo) -> float | None:
    """The first time after `now`, in seconds since the epoch. `start`: from when on an interval counts."""
    if schedule.interval:
        return start + ((max(int(now) - start, 0) // schedule.interval) + 1) * float(schedule.interval)
    found = next(_times(schedule, now, zone), None)
    return found.timestamp() if found is not None else None


def latest(schedule: Schedule, start: int, now: float, zone: tzinfo) -> int | None:
    """The last time after `start` up to `now`, in seconds since the epoch; None if there is none."""
    if schedule.interval:
        found = start + max(int(now) - start, 0) // schedule.interval * schedule.interval
    else:
        before = next(_times(schedule, int(now) + 1, zone, back=True), None)
        found = int(before.timestamp()) if before is not None else start
    return found if start < found <= now else None


def are_many(schedule: Schedule, start: int, now: float, zone: tzinfo) -> bool:
    """Whether about MANY times or more lie between `start` and `now`, by the first interval between two of them."""
    first = after(schedule, start, start, zone)
    second = after(schedule, start, first, zone) if first is not None else None
    if first is None or second is None or second <= first:
        return False
    return (now - first) // (second - first) + 1 > MANY
