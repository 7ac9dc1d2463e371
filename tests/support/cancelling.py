"""Whether a coroutine heeds a cancellation, whenever it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

ROUNDS = 200


async def heeded(begin: Callable[[], Coroutine[Any, Any, Any]]) -> bool:
    """Whether each of many runs, cancelled a turn of the loop later each time, was cancelled or had ended by then."""
    for turns in range(ROUNDS):
        task = asyncio.ensure_future(begin())
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.done():
            return True
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            return False
    raise AssertionError("it does not end by itself")
