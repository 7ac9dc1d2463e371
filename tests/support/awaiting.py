"""Waiting for what tasks, threads and processes of a test bring about, without a lab."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pinnace.clock import VirtualClock


async def eventually(
    check: Callable[[], Any], *, within: float = 10.0, clock: VirtualClock | None = None, step: float = 0.0
) -> Any:
    """Return the value of `check` once it is true; `within` is a bound in seconds of real time. `clock` advances by `step`
    seconds between checks. Raises TimeoutError."""
    async with asyncio.timeout(within):
        while not (value := check()):
            # Threads and processes take real time.
            await asyncio.sleep(0.005)
            if clock is not None:
                await clock.advance(step)
    return value
