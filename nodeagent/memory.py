"""The agent's own memory: glibc keeps an arena for each thread that ever allocated, and gives little of it back.

An agent that had pulled and loaded 600 MB of images kept 80 MB without this, and 50 MB with it. On another C library
nothing is done.
"""

from __future__ import annotations

import contextlib
import ctypes

# mallopt(3).
_M_ARENA_MAX = -8
# gRPC's threads and ours allocate little, and seldom at once.
ARENAS = 2


def limit() -> None:
    """Before the first thread."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)


def trim() -> None:
    """Give back what a large piece of work has used."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
