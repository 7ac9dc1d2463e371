"""Turns of requests: limits, fairness between users, and requests that give up."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.rest.flow import Flow
from pinnace.errors import TooManyRequests


class Users:
    """Requests that hold their turn until `gate` is set, and the order in which they got it."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.order: list[str] = []
        self.gate = asyncio.Event()
        self.running = self.most = 0

    async def ask(self, user: str) -> None:
        async with self.flow.turn(user):
            self.order.append(user)
            self.running += 1
            self.most = max(self.most, self.running)
            await self.gate.wait()
            self.running -= 1

    def start(self, *users: str) -> list[asyncio.Task[None]]:
        return [asyncio.ensure_future(self.ask(user)) for user in users]


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_no_more_than_the_limit_are_served_at_once() -> None:
    """The others follow, all of them."""
    users = Users(Flow(3))
    tasks = users.start(*"abcdefgh")
    await turns()
    assert (users.running, users.flow.waiting) == (3, 5)
    users.gate.set()
    await asyncio.gather(*tasks)
    assert (users.most, users.flow.waiting, len(users.order)) == (3, 0, 8)


async def test_a_user_with_many_requests_delays_another_by_one() -> None:
    """Lines take turns, however long they are."""
    users = Users(Flow(1))
    tasks = users.start("first", *["greedy"] * 50)
    await turns()
    tasks += users.start("modest")
    await turns()
    users.gate.set()
    await asyncio.gather(*tasks)
    assert users.order.index("modest") <= 2


async def test_lines_have_an_end() -> None:
    """Of one user, and of all: the next request is refused, with a time to try again."""
    flow = Flow(1, line=2, users=2)
    users = Users(flow)
    tasks = users.start("first", "a", "a", "b")
    await turns()
    for user in ("a", "c"):
        with pytest.raises(TooManyRequests) as refused:
            await users.ask(user)
        assert refused.value.retry_after == 1
    users.gate.set()
    await asyncio.gather(*tasks)


async def test_a_request_that_gives_up_leaves_its_turn_to_the_next() -> None:
    """Before its turn, and in the moment in which it gets it."""
    flow = Flow(1)
    users = Users(flow)
    [first, second, third] = users.start("a", "b", "c")
    await turns()
    second.cancel()
    await turns()
    users.gate.set()
    await asyncio.gather(first, third)
    assert users.order == ["a", "c"]
    users.gate.clear()
    [fourth, fifth, sixth] = users.start("a", "b", "c")
    await turns()
    fourth.cancel()
    # The turn passes to the fifth, which is cancelled before it runs.
    await asyncio.sleep(0)
    fifth.cancel()
    users.gate.set()
    await asyncio.gather(fourth, fifth, sixth, return_exceptions=True)
    assert users.order[-1] == "c"
    async with flow.turn("x"):
        assert flow.waiting == 0


async def test_a_request_does_not_wait_for_ever() -> None:
    """And leaves nothing behind."""
    flow = Flow(1, patience=0.05)
    async with flow.turn("a"):
        with pytest.raises(TooManyRequests):
            async with flow.turn("b"):
                pass
        assert flow.waiting == 0
    async with flow.turn("b"):
        pass
