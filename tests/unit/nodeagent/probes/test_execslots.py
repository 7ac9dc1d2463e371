"""Slots of exec probes: few start at a time, and one that hangs keeps the others waiting a second at most."""

from __future__ import annotations

import asyncio

from nodeagent.probes.execslots import ExecSlots


async def test_no_more_start_at_a_time_than_there_are_slots() -> None:
    slots, running, most = ExecSlots(3, held=60), 0, 0

    async def probe() -> None:
        nonlocal running, most
        async with slots.one():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1

    await asyncio.gather(*(probe() for _ in range(20)))
    assert most == 3


async def test_probes_that_hang_give_their_slots_back() -> None:
    slots = ExecSlots(2, held=0.02)

    async def hang() -> None:
        async with slots.one():
            await asyncio.sleep(60)

    hung = [asyncio.ensure_future(hang()) for _ in range(6)]
    async with asyncio.timeout(5), slots.one():
        pass
    for task in hung:
        task.cancel()
    await asyncio.gather(*hung, return_exceptions=True)
    # No slot was given back twice.
    assert slots._free._value == 2
