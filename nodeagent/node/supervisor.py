"""Keeps the agent's parts running: one that fails is logged and started again, and ends no other.

An unwritable disk, an unexpected value, a bug: each costs the part that met it some seconds. The process ends only
when it is told to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pinnace import cancellation
from pinnace.clock import Clock

log = logging.getLogger("pinnace.agent")
# Seconds before a part that failed is started again, doubling; after a run of RESET seconds it begins anew.
FIRST_RETRY, MAX_RETRY, RESET = 1.0, 30.0, 60.0


async def keep(name: str, part: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Run a part until it returns, again whenever it raises, also a CancelledError of a call that it waited for. Until
    cancelled."""
    delay = FIRST_RETRY
    while True:
        began = clock.monotonic()
        try:
            await part()
            return
        except (Exception, asyncio.CancelledError):
            if cancellation.requested():
                raise
            if clock.monotonic() - began > RESET:
                delay = FIRST_RETRY
            log.exception("part_failed name=%s retry=%.0f", name, delay)
            await clock.sleep(delay)
            delay = min(delay * 2, MAX_RETRY)
