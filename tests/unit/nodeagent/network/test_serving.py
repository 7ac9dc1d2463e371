"""Pods wait for what serves them, once since the agent started and for a limited time."""

from __future__ import annotations

import asyncio

from nodeagent.network.serving import WITHIN, Serving
from pinnace.clock import VirtualClock, settle


async def test_it_waits_for_every_part() -> None:
    clock, parts = VirtualClock(), (asyncio.Event(), asyncio.Event())
    serving = Serving(parts, clock)
    serving.network_is_up()
    waiting = asyncio.ensure_future(serving.wait())
    for part in reversed(parts):
        await settle()
        assert not waiting.done()
        part.set()
    await waiting


async def test_a_part_that_never_serves_delays_the_first_pods_alone() -> None:
    """All until the same moment, which a network that is set up again does not move; later ones do not wait."""
    clock = VirtualClock()
    serving = Serving((asyncio.Event(),), clock)
    serving.network_is_up()
    first = asyncio.ensure_future(serving.wait())
    await settle()
    await clock.advance(WITHIN - 1)
    serving.network_is_up()
    second = asyncio.ensure_future(serving.wait())
    await settle()
    assert not first.done()
    await clock.advance(1)
    await asyncio.gather(first, second)
    await serving.wait()
