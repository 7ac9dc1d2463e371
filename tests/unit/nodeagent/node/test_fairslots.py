"""Slots that owners share, whatever the others do with theirs."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from nodeagent.node.fairslots import FairSlots
from pinnace.clock import settle


async def test_an_owner_never_has_more_than_its_share() -> None:
    slots = FairSlots(4, each=2)
    await slots.acquire("a")
    await slots.acquire("a")
    third = asyncio.ensure_future(slots.acquire("a"))
    await settle()
    assert not third.done()
    await slots.acquire("b")
    assert slots.free == 1
    slots.release("a")
    await third


async def test_owners_that_wait_are_served_in_turn() -> None:
    slots, order = FairSlots(1, each=1), list[str]()
    await slots.acquire("a")

    async def ask(owner: str) -> None:
        await slots.acquire(owner)
        order.append(owner)
        slots.release(owner)

    asked = [asyncio.ensure_future(ask(owner)) for owner in ("a", "a", "a", "b", "b", "c")]
    await settle()
    slots.release("a")
    await asyncio.gather(*asked)
    assert order == ["a", "b", "c", "a", "b", "a"]


async def test_a_caller_that_gives_up_costs_no_slot() -> None:
    """Neither while it waits, nor in the moment in which it is served."""
    slots = FairSlots(1, each=1)
    await slots.acquire("a")
    waits, served, last = (asyncio.ensure_future(slots.acquire(owner)) for owner in ("b", "c", "d"))
    await settle()
    waits.cancel()
    slots.release("a")
    served.cancel()
    await asyncio.wait([waits, served])
    await last
    slots.release("d")
    assert slots.free == 1
    assert not slots.waiting("b")


async def test_whatever_is_asked_released_and_given_up_the_bounds_hold() -> None:
    random_, slots, held = random.Random(1), FairSlots(5, each=2), Counter[str]()

    async def ask(owner: str) -> None:
        await slots.acquire(owner)
        held[owner] += 1
        assert held[owner] <= 2
        assert held.total() <= 5
        try:
            await asyncio.sleep(random_.random() / 500)
        finally:
            held[owner] -= 1
            slots.release(owner)

    tasks = [asyncio.ensure_future(ask(random_.choice("abcd"))) for _ in range(200)]
    for task in random_.sample(tasks, 60):
        await asyncio.sleep(0.0002)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [task for task in tasks if not task.cancelled() and task.exception()] == []
    assert slots.free == 5
