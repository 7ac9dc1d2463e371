"""Slots of exec probes: few start at a time, one that hangs keeps the others waiting a second at most, and pods take turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nodeagent.probes.execslots import ExecSlots


async def test_no_more_start_at_a_time_than_there_are_slots() -> None:
    slots, running, most = ExecSlots(3, each=3, held=60), 0, 0

    async def probe(pod: str) -> None:
        nonlocal running, most
        async with slots.one(pod):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1

    await asyncio.gather(*(probe(str(number % 2)) for number in range(20)))
    assert most == 3


@asynccontextmanager
async def hanging(slots: ExecSlots, pod: str, probes: int) -> AsyncIterator[None]:
    async def hang() -> None:
        async with slots.one(pod):
            await asyncio.sleep(60)

    hung = [asyncio.ensure_future(hang()) for _ in range(probes)]
    await asyncio.sleep(0)
    yield
    for task in hung:
        task.cancel()
    await asyncio.gather(*hung, return_exceptions=True)


async def test_probes_that_hang_give_their_slots_back() -> None:
    slots = ExecSlots(2, each=2, held=0.02)
    async with hanging(slots, "u1", 6), asyncio.timeout(5), slots.one("u1"):
        pass
    assert slots.free == 2, "no slot was given back twice"


async def test_a_hundred_hanging_probes_of_one_pod_delay_no_other() -> None:
    """None of them gives its slot back here, so a wait for one would have no end."""
    slots = ExecSlots(held=60)
    async with hanging(slots, "u1", 100), asyncio.timeout(5), slots.one("u2"), slots.one("u2"):
        pass


async def test_pods_that_wait_take_turns() -> None:
    """Four pods whose probes hang have all slots; the fifth is served before their next probes."""
    slots, served = ExecSlots(4, each=1, held=0.05), list[str]()

    async def probe(pod: str, seconds: float) -> None:
        async with slots.one(pod):
            served.append(pod)
            await asyncio.sleep(seconds)

    tasks = [asyncio.ensure_future(probe(pod, 60)) for pod in "abcd" for _ in range(5)]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await probe("e", 0)
    assert served.index("e") <= 8, served
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert slots.free == 4
