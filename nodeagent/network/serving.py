"""Pods of a node that has just started wait until it serves them: Services and names.

Else a pod that starts with its node, as all do after a reboot, has its first connections and lookups refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pinnace.clock import Clock

# Seconds after the network was set up in which pods wait. A resolver that cannot start delays them, and does not keep them.
WITHIN = 10.0


class Serving:
    """`parts` are set once each of them serves."""

    def __init__(self, parts: Sequence[asyncio.Event], clock: Clock) -> None:
        self._parts, self._clock = parts, clock
        self._until: float | None = None

    def network_is_up(self) -> None:
        """For the first time since the agent started, or again."""
        if self._until is None:
            self._until = self._clock.monotonic() + WITHIN

    async def wait(self) -> None:
        """Until all parts have served once since the agent started; at most WITHIN after the network was up."""
        for part in self._parts:
            if self._until is not None and not part.is_set():
                await self._clock.wait(part, max(self._until - self._clock.monotonic(), 0.0))
