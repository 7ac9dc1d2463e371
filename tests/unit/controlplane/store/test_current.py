"""Reads that callers share: each caller gets one that began after its call."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.store.current import SharedRead
from pinnace.clock import settle
from pinnace.errors import Unavailable


class Source:
    """Counts reads; each ends when it is released."""

    def __init__(self) -> None:
        self.begun = 0
        self._ends: list[asyncio.Future[None]] = []

    async def read(self) -> int:
        self.begun += 1
        number, end = self.begun, asyncio.get_running_loop().create_future()
        self._ends.append(end)
        await end
        return number

    def release(self, error: Exception | None = None) -> None:
        end = self._ends.pop(0)
        end.set_exception(error) if error else end.set_result(None)


async def test_callers_that_come_during_a_read_share_the_next_one() -> None:
    """The one in progress may have looked before they called."""
    source = Source()
    shared = SharedRead(source.read)
    first = asyncio.ensure_future(shared.read())
    await settle()
    later = [asyncio.ensure_future(shared.read()) for _ in range(5)]
    await settle()
    assert source.begun == 1
    source.release()
    await settle()
    assert (await first, source.begun) == (1, 2)
    source.release()
    assert await asyncio.gather(*later) == [2] * 5


async def test_a_failed_read_fails_its_callers_only() -> None:
    """The next one is tried."""
    source = Source()
    shared = SharedRead(source.read)
    first = asyncio.ensure_future(shared.read())
    await settle()
    second = asyncio.ensure_future(shared.read())
    source.release(Unavailable("down"))
    with pytest.raises(Unavailable):
        await first
    await settle()
    source.release()
    assert await second == 2


async def test_a_caller_that_is_cancelled_disturbs_no_other() -> None:
    """Nor does the last one leave an error unseen."""
    source = Source()
    shared = SharedRead(source.read)
    leaves, stays = asyncio.ensure_future(shared.read()), asyncio.ensure_future(shared.read())
    await settle()
    leaves.cancel()
    source.release()
    assert await stays == 1
    last = asyncio.ensure_future(shared.read())
    await settle()
    last.cancel()
    source.release(Unavailable("down"))
    await settle()
