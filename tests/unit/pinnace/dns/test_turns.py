"""Whose work is next, on a clock of processor time that the work itself moves."""

from __future__ import annotations

import asyncio

import pytest

from pinnace.dns import turns
from pinnace.dns.turns import Turns


class Processor:
    """Its time, and whose work was done."""

    def __init__(self) -> None:
        self.spent, self.done = 0.0, list[str]()
        self.turns = Turns(lambda: self.spent)

    def put(self, client: str, cost: float, count: int = 1) -> None:
        for _ in range(count):
            self.turns.put(client, self._work, client, cost)

    def _work(self, client: str, cost: float) -> None:
        self.spent += cost
        self.done.append(client)

    async def all_done(self) -> list[str]:
        async with asyncio.timeout(10):
            while len(self.turns):
                await asyncio.sleep(0)
        return self.done


async def test_clients_get_as_much_time_as_each_other() -> None:
    """One whose work costs a hundred times as much is served a hundred times less often."""
    found = Processor()
    found.put("dear", 1.0, 3)
    found.put("cheap", 0.01, 250)
    done = await found.all_done()
    assert done[:2] == ["dear", "cheap"]
    assert 90 <= done[: [at for at, one in enumerate(done) if one == "dear"][1]].count("cheap") <= 110


async def test_work_of_before_counts_while_others_have_had_less() -> None:
    """A client that never has two pieces at once gains nothing by that."""
    found = Processor()
    found.put("dear", 1.0)
    found.put("cheap", 0.1, 30)
    while "dear" not in found.done:
        await asyncio.sleep(0)
    found.put("dear", 1.0)
    done = await found.all_done()
    assert 9 <= done[: [at for at, one in enumerate(done) if one == "dear"][1]].count("cheap") <= 11


async def test_an_idle_client_saves_nothing_up() -> None:
    """It takes its turn as the others, however long they were served before."""
    found = Processor()
    found.put("busy", 1.0, 50)
    await found.all_done()
    found.done.clear()
    found.put("busy", 1.0, 4)
    found.put("idle", 1.0, 4)
    done = await found.all_done()
    assert max(len(done[:at]) - 2 * done[:at].count("idle") for at in range(1, 8)) <= 1
    assert max(2 * done[:at].count("idle") - len(done[:at]) for at in range(1, 8)) <= 2


async def test_an_exception_delays_no_other_work(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once in a while."""
    found = Processor()

    def fail() -> None:
        raise RuntimeError

    for _ in range(5):
        found.turns.put("bad", fail)
    found.put("good", 0.1)
    assert await found.all_done() == ["good"]
    assert caplog.text.count("work_failed") == 1


async def test_work_stops_for_sockets_after_some_time() -> None:
    """And continues by itself."""
    found = Processor()
    found.put("one", turns.SECONDS * 2, 3)
    for expected in (1, 2, 3):
        await asyncio.sleep(0)
        assert len(found.done) == expected
    assert len(found.turns) == 0


async def test_clients_that_are_no_longer_served_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be any number of them in time."""
    monkeypatch.setattr(turns, "MAX_CLIENTS", 10)
    found = Processor()
    for number in range(100):
        found.put(str(number), 1.0)
        await found.all_done()
    assert len(found.turns._used) <= 10


async def test_clients_that_flood_leave_room_for_the_burst_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them has as much as is left for the next, and every client its assured share."""
    monkeypatch.setattr(turns, "MAX_TOTAL", 1_200)
    monkeypatch.setattr(turns, "MAX_QUEUED", 500)
    found = Turns()

    def taken(client: str, offered: int) -> int:
        return sum(found.offer(client, int) for _ in range(offered))

    assert [taken(f"flood-{number}", 2_000) for number in range(3)] == [500, 350, 175]
    assert taken("burst", 80) == 80
    assert taken("small", 2_000) == turns.ASSURED
    found.run()
    async with asyncio.timeout(10):
        while len(found):
            await asyncio.sleep(0)
    assert taken("flood-0", 2_000) == 500
