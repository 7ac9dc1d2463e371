"""A process's own memory: glibc keeps an arena for each thread that ever allocated, and gives little of it back.

An agent that had pulled and loaded 600 MB of images kept 80 MB without this, and 50 MB with it; one that had run 4,500 pods
kept 20 MB of free pieces between what it used. On another C library nothing is done.

And its garbage cycles: Python's full collection visits every container, 200 ms in a control plane of 1,000 nodes, and
no request is answered meanwhile. `keep_collecting` visits only new ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc

from pinnace.clock import Clock

# mallopt(3).
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
# gRPC's threads and ours allocate little, and seldom at once.
ARENAS = 2


# Interval in seconds at which memory is returned to the kernel. One takes some milliseconds.
PERIOD = 60.0


async def keep_trim(clock: Clock) -> None:
    """Until cancelled."""
    while True:
        await clock.sleep(PERIOD)
        await asyncio.to_thread(trim)


def limit(*, large: int = 0) -> None:
    """Before the first thread. `large`: bytes from which a piece is mapped by itself, and so given back at once, as glibc does
    until it has seen one of that size freed; 0 leaves that to glibc."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, ARENAS)
        if large:
            libc.mallopt(_M_MMAP_THRESHOLD, large)


def trim() -> None:
    """Return to the kernel what a large piece of work has used."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


# Seconds between looks for garbage. One without a result takes microseconds.
LOOK = 0.5
# Collections of Python's middle generation after which the oldest is due: some 7,000 new containers, for 3 to 10 ms.
PIECE = 1
# Looks in a row without a collection of the youngest generation that make a moment quiet: a process that lacks processor time
# has one such look too.
QUIET = 4
# Times more pieces than those that make all objects due in a quiet moment: then at a busy one too.
PATIENCE = 4
_NEVER = 1_000_000


async def keep_collecting(clock: Clock) -> None:
    """Collect garbage cycles until cancelled, and switch Python's collector on. What a collection finds alive is frozen (see
    `gc.freeze`): the next one does not visit it. Only once the frozen objects may have doubled, and when there is little to
    do, all of them are visited."""
    thresholds = gc.get_threshold()
    gc.set_threshold(*thresholds[:2], _NEVER)
    gc.freeze()
    gc.enable()
    collector = _Pieces()
    try:
        while True:
            await clock.sleep(LOOK)
            collector.look()
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)


class _Pieces:
    """Collects new objects when they are many, and all objects after as many such pieces as may have doubled them."""

    def __init__(self) -> None:
        self._young = self._quiet = 0
        self._begin()

    def _begin(self) -> None:
        """Count anew."""
        first, second, _ = gc.get_threshold()
        self._pieces, self._most = 0, gc.get_freeze_count() // (first * second * PIECE) + 1

    def look(self) -> None:
        before, self._young = self._young, gc.get_stats()[0]["collections"]
        self._quiet = self._quiet + 1 if self._young == before else 0
        if self._pieces >= self._most * (1 if self._quiet >= QUIET else PATIENCE):
            gc.unfreeze()
            _collect()
            self._begin()
        elif gc.get_count()[2] >= PIECE:
            _collect()
            self._pieces += 1


def _collect() -> None:
    gc.collect()
    gc.freeze()
