"""A lab's clock: it is advanced, wakes what is due, and remembers when it was."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path

import pytest

from pinnace import labclock
from pinnace.clock import SystemClock, VirtualClock, settle
from pinnace.errors import BadRequest, Invalid
from pinnace.labclock import MAX_OFFSET, MAX_STEPS, LabClock

HOUR = 3600.0


@pytest.fixture
def machine() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def clock(machine: VirtualClock, tmp_path: Path) -> LabClock:
    return LabClock(machine, tmp_path / "clock.json")


async def test_an_advance_moves_both_times(machine: VirtualClock, clock: LabClock) -> None:
    now, monotonic = clock.now(), clock.monotonic()
    clock.advance(HOUR)
    clock.advance(1.5)
    assert (clock.now() - now, clock.monotonic() - monotonic, clock.offset) == (HOUR + 1.5, HOUR + 1.5, HOUR + 1.5)
    await machine.advance(10)
    assert clock.now() - now == pytest.approx(HOUR + 11.5)


async def test_sleepers_wake_when_their_time_has_come(machine: VirtualClock, clock: LabClock) -> None:
    """By an advance, by the machine's time, and by both together."""
    woken: list[float] = []

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    tasks = [asyncio.ensure_future(sleep(seconds)) for seconds in (5.0, HOUR, HOUR + 60, 3 * HOUR)]
    await settle()
    await machine.advance(6)
    assert woken == [5.0]
    clock.advance(HOUR)
    await settle()
    assert woken == [5.0, HOUR]
    await machine.advance(53)
    assert woken == [5.0, HOUR]
    await machine.advance(2)
    assert woken == [5.0, HOUR, HOUR + 60]
    clock.advance(2 * HOUR)
    await asyncio.gather(*tasks)


async def test_a_wait_ends_with_its_event_or_its_time(machine: VirtualClock, clock: LabClock) -> None:
    event = asyncio.Event()
    late, forever = asyncio.ensure_future(clock.wait(event, HOUR)), asyncio.ensure_future(clock.wait(event, None))
    await settle()
    clock.advance(HOUR / 2)
    await settle()
    assert not late.done()
    clock.advance(HOUR / 2)
    assert await late is False
    soon = asyncio.ensure_future(clock.wait(event, HOUR))
    await settle()
    event.set()
    assert await soon is True
    assert await forever is True
    assert await clock.wait(event, HOUR) is True
    assert await clock.wait(asyncio.Event(), 0) is False


async def test_a_cancelled_sleeper_is_cancelled(clock: LabClock) -> None:
    """Also in the moment of an advance."""
    task = asyncio.ensure_future(clock.sleep(HOUR))
    await settle()
    clock.advance(2 * HOUR)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_on_the_machine_it_wakes_at_once_too(tmp_path: Path) -> None:
    """The clock of the machine, not a virtual one."""
    clock = LabClock(SystemClock(), tmp_path / "clock.json")
    task = asyncio.ensure_future(clock.wait(asyncio.Event(), HOUR))
    await asyncio.sleep(0)
    clock.advance(HOUR)
    async with asyncio.timeout(30):
        assert await task is False


async def test_the_time_survives_a_restart(machine: VirtualClock, clock: LabClock, tmp_path: Path) -> None:
    clock.advance(HOUR)
    await machine.advance(5)
    again = LabClock(machine, tmp_path / "clock.json")
    assert (again.now(), again.monotonic()) == (clock.now(), clock.monotonic())
    assert (tmp_path / "clock.json").stat().st_mode & 0o777 == 0o600


async def test_another_process_follows(machine: VirtualClock, clock: LabClock, tmp_path: Path) -> None:
    """When it is told to; its sleepers wake then."""
    other = LabClock(machine, tmp_path / "clock.json")
    task = asyncio.ensure_future(other.sleep(HOUR))
    labclock.follow(other)
    clock.advance(HOUR)
    await settle()
    assert (other.offset, task.done()) == (0.0, False)
    labclock.follow(other)
    await task
    assert other.now() == clock.now()


async def test_an_unreadable_file_changes_nothing(machine: VirtualClock, clock: LabClock, tmp_path: Path) -> None:
    """Nor does one from before."""
    other = LabClock(machine, tmp_path / "clock.json")
    clock.advance(HOUR)
    labclock.follow(other)
    for text in ("{", json.dumps({"steps": [[0, 1.0]]})):
        (tmp_path / "clock.json").write_text(text)
        labclock.follow(other)
        assert other.offset == HOUR


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"steps": 1}', '{"steps": [[1]]}', '{"steps": [[0, "x"]]}', '{"steps": [[0, -1]]}',
             '{"steps": [[0, 5], [1, 5]]}', '{"steps": [[0, 1e30]]}', '{"steps": [[0, NaN]]}'],
)  # fmt: skip
def test_what_is_no_clock_is_refused(tmp_path: Path, machine: VirtualClock, text: str) -> None:
    (tmp_path / "clock.json").write_text(text)
    with pytest.raises(Invalid, match="is not the clock of a lab"):
        LabClock(machine, tmp_path / "clock.json")


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf, MAX_OFFSET + 1])
async def test_time_does_not_go_back_nor_too_far(clock: LabClock, seconds: float) -> None:
    with pytest.raises(BadRequest):
        clock.advance(seconds)
    assert clock.offset == 0.0
    clock.advance(MAX_OFFSET)
    with pytest.raises(BadRequest, match="ten years"):
        clock.advance(1.0)


async def test_an_advance_that_is_too_short_leaves_a_file_that_can_be_read(
    machine: VirtualClock, clock: LabClock, tmp_path: Path
) -> None:  # fmt: skip
    """Offsets of a year are no finer than a nanosecond, and equal ones are refused at the next start."""
    clock.advance(300 * 86_400.0)
    with pytest.raises(BadRequest, match="too short"):
        clock.advance(1e-12)
    assert LabClock(machine, tmp_path / "clock.json").offset == clock.offset


async def test_a_time_that_the_machine_noted_is_converted_by_the_offset_of_then(machine: VirtualClock, clock: LabClock) -> None:
    """So a container that started before an advance did not start after it."""
    noted = []
    for _ in range(3):
        noted.append((machine.now(), clock.now()))
        await machine.advance(10)
        clock.advance(HOUR)
    noted.append((machine.now(), clock.now()))
    assert [clock.converted(at) for at, _ in noted] == [shown for _, shown in noted]
    assert clock.converted(0.0) == 0.0


async def test_old_steps_are_dropped(clock: LabClock, machine: VirtualClock, tmp_path: Path) -> None:
    """The file is bounded."""
    steps = [(float(number), float(number)) for number in range(1, MAX_STEPS + 1)]
    (tmp_path / "clock.json").write_text(json.dumps({"steps": steps}))
    labclock.follow(clock)
    clock.advance(1.0)
    kept = json.loads((tmp_path / "clock.json").read_text())["steps"]
    assert (len(kept), kept[0], kept[-1][1]) == (MAX_STEPS, [2.0, 2.0], MAX_STEPS + 1)


async def test_other_views_of_the_clock(machine: VirtualClock, clock: LabClock) -> None:
    """Certificates are of the machine's time, and some deadlines are not moved."""
    steady = labclock.steady(clock)
    clock.advance(HOUR)
    assert (steady.now(), steady.monotonic()) == (clock.now(), machine.monotonic())
    assert labclock.machine(clock) is machine
    assert labclock.machine(steady) is machine
    assert labclock.offset(clock) == HOUR
    at = machine.now()
    assert labclock.converted(steady, at) == labclock.converted(clock, at) == clock.now()
    task = asyncio.ensure_future(steady.sleep(60))
    await settle()
    clock.advance(HOUR)
    await settle()
    assert not task.done()
    await machine.advance(60)
    await task


def test_clocks_of_real_clusters_are_left_alone(machine: VirtualClock) -> None:
    for view in (labclock.opened(machine, None), labclock.machine(machine), labclock.steady(machine)):
        assert view is machine
    labclock.follow(machine)
    assert (labclock.offset(machine), labclock.converted(machine, 5.0)) == (0.0, 5.0)
