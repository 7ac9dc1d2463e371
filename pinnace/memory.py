"""A process's own memory: glibc keeps an arena for each thread that ever allocated, and gives little of it back.

An agent that had pulled and loaded 600 MB of images kept 80 MB without this, and 50 MB with it; one that had run 4,500 pods
kept 20 MB of free pieces between what it used. On another C library nothing is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes

from pinnace.clock import Clock

# mallopt(3).
_M_ARENA_MAX = -8
# gRPC's threads and ours allocate little, and seldom at once.
ARENAS = 2


# Seconds between looks for memory to give back. One takes some milliseconds.
PERIOD = 60.0


async def keep_trim(clock: Clock) -> None:
    """Until cancelled."""
    while True:
        await clock.sleep(PERIOD)
        await asyncio.to_thread(trim)


def limit() -> None:
    """Before the first thread."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)


def trim() -> None:
    """Give back what a large piece of work has used."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
