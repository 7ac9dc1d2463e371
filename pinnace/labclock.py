"""The clock of a lab, which its administrator can advance. Processes of real clusters have the machine's.

Every advance is a step in a file of the lab: the machine's time at which it happened, and the seconds by which the lab is
ahead since then. So the time survives restarts, and a time that another process has noted by the machine's clock (a monitor, a
file system) can be converted. Time never goes back: objects have times of it.

There are two more views of it: `machine`, for certificates, which TLS libraries and other machines check by their clocks; and
`steady`, whose intervals an advance does not shorten, for deadlines among the processes of this machine.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import itertools
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path

from pinnace import pki
from pinnace.clock import Clock
from pinnace.errors import BadRequest, Invalid

log = logging.getLogger("pinnace.labclock")
# Seconds by which a lab may be ahead: years that certificates, tokens and calendars can still hold.
MAX_OFFSET = 10 * 365 * 86400.0
# Steps that are kept. Of an earlier time the offset of the oldest one is taken.
MAX_STEPS = 1000
# The machine's time, and the offset from then on.
Step = tuple[float, float]


class LabClock:
    def __init__(self, machine: Clock, file: Path) -> None:
        """`file` need not exist. Raises Invalid, OSError."""
        self.machine = machine
        self._file = file
        self._steps = _load(file)
        self._waiting: set[asyncio.Timeout] = set()

    @property
    def lab(self) -> LabClock:
        return self

    @property
    def offset(self) -> float:
        """Seconds by which it is ahead of the machine's clock."""
        return self._steps[-1][1] if self._steps else 0.0

    def now(self) -> float:
        return self.machine.now() + self.offset

    def monotonic(self) -> float:
        return self.machine.monotonic() + self.offset

    async def sleep(self, seconds: float) -> None:
        await self.wait(asyncio.Event(), seconds)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        if seconds is None or seconds <= 0:
            return await self.machine.wait(event, seconds)
        due = self.monotonic() + seconds
        while not event.is_set() and (left := due - self.monotonic()) > 0:
            with self._until_advance() as advance:
                async with advance:
                    await self.machine.wait(event, left)
        return event.is_set()

    @contextlib.contextmanager
    def _until_advance(self) -> Iterator[asyncio.Timeout]:
        """A scope that ends early when the clock is advanced."""
        scope = asyncio.timeout(None)
        self._waiting.add(scope)
        try:
            yield scope
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(scope)

    def advance(self, seconds: float) -> None:
        """Write a step, and wake the sleepers that are due then. Raises BadRequest, OSError."""
        if not seconds > 0:
            raise BadRequest("time does not go back: objects have times of it (a new lab begins with this machine's time)")
        if self.offset + seconds == self.offset:
            raise BadRequest("the advance is too short for the clock's resolution")
        if not self.offset + seconds <= MAX_OFFSET:
            raise BadRequest(f"a lab may be ahead of this machine by {MAX_OFFSET:.0f} seconds, which is ten years")
        steps = [*self._steps, (self.machine.now(), self.offset + seconds)][-MAX_STEPS:]
        pki.write_private(self._file, json.dumps({"steps": steps}).encode())
        self._take(steps)

    def follow(self) -> None:
        """Take the steps that another process has written."""
        try:
            steps = _load(self._file)
        except (Invalid, OSError) as error:
            log.error("lab_clock_unreadable error=%s", error)
            return
        if steps and steps[-1][1] > self.offset:
            self._take(steps)

    def _take(self, steps: list[Step]) -> None:
        self._steps = steps
        log.info("clock_advanced offset=%.0f", self.offset)
        now = asyncio.get_running_loop().time()
        for scope in self._waiting:
            scope.reschedule(now)

    def converted(self, seconds: float) -> float:
        """The time of this clock when the machine's showed `seconds`."""
        at = bisect.bisect_right(self._steps, (seconds, math.inf))
        return seconds + (self._steps[at - 1][1] if at else 0.0)


def _load(file: Path) -> list[Step]:
    """Raises Invalid, OSError."""
    try:
        steps = [(float(at), float(offset)) for at, offset in json.loads(file.read_bytes())["steps"]]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Invalid(f"{file} is not the clock of a lab: {error}") from None
    offsets = [0.0, *(offset for _, offset in steps)]
    if not all(before < after for before, after in itertools.pairwise(offsets)) or not offsets[-1] <= MAX_OFFSET:
        raise Invalid(f"{file} is not the clock of a lab: its offsets do not grow, or beyond {MAX_OFFSET:.0f} seconds")
    return steps[-MAX_STEPS:]


class _Steady:
    def __init__(self, clock: LabClock) -> None:
        self.lab = clock
        self.monotonic = clock.machine.monotonic
        self.sleep = clock.machine.sleep
        self.wait = clock.machine.wait

    def now(self) -> float:
        return self.lab.now()


def opened(machine: Clock, file: Path | None) -> Clock:
    """The clock of a process: a lab's if it has a file of it. Raises Invalid, OSError."""
    return LabClock(machine, file) if file is not None else machine


def machine(clock: Clock) -> Clock:
    """The machine's clock."""
    return clock.lab.machine if isinstance(clock, LabClock | _Steady) else clock


def steady(clock: Clock) -> Clock:
    """The same time of day, with intervals of the machine's clock."""
    return _Steady(clock) if isinstance(clock, LabClock) else clock


def follow(clock: Clock) -> None:
    """Take the steps of a lab's clock that another process has written."""
    if isinstance(clock, LabClock):
        clock.follow()


def offset(clock: Clock) -> float:
    """Seconds by which the intervals of a clock have been advanced."""
    return clock.offset if isinstance(clock, LabClock) else 0.0


def converted(clock: Clock, seconds: float) -> float:
    """The time of a clock when the machine's showed `seconds`."""
    return clock.lab.converted(seconds) if isinstance(clock, LabClock | _Steady) else seconds
