"""How many exec probes start at a time on a node: each costs some milliseconds of CPU, and a hundred pods begin together.

A slot is for starting. A command that runs on gives its slot back after HELD seconds, so that commands which hang until their
timeout, of one pod or of many, keep the probes of others waiting no longer than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SLOTS = 8
# Seconds.
HELD = 1.0


class ExecSlots:
    def __init__(self, slots: int = SLOTS, held: float = HELD) -> None:
        self._free = asyncio.Semaphore(slots)
        self._held = held

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for a slot; the wait is not part of the probe's timeout."""
        await self._free.acquire()
        held = True

        def release() -> None:
            nonlocal held
            if held:
                held = False
                self._free.release()

        timer = asyncio.get_running_loop().call_later(self._held, release)
        try:
            yield
        finally:
            timer.cancel()
            release()
