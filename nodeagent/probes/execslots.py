"""How many exec probes start at a time on a node: each costs some milliseconds of CPU, and a hundred pods begin together.

A slot is for starting. A command that runs on gives its slot back after HELD seconds, so that commands which hang until their
timeout keep the probes of others waiting no longer than that. A pod has EACH of them at most, and pods that wait take turns:
how many probes of one pod hang delays no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nodeagent.node.fairslots import FairSlots

SLOTS, EACH = 8, 2
# Seconds.
HELD = 1.0


class ExecSlots:
    def __init__(self, slots: int = SLOTS, each: int = EACH, held: float = HELD) -> None:
        self._slots = FairSlots(slots, each)
        self._held = held

    @property
    def free(self) -> int:
        return self._slots.free

    @asynccontextmanager
    async def one(self, pod: str) -> AsyncIterator[None]:
        """Wait for a slot of the pod with that uid; the wait is not part of the probe's timeout."""
        await self._slots.acquire(pod)
        held = True

        def release() -> None:
            nonlocal held
            if held:
                held = False
                self._slots.release(pod)

        timer = asyncio.get_running_loop().call_later(self._held, release)
        try:
            yield
        finally:
            timer.cancel()
            release()
