"""The thread of the timeline, which a disk may hold for long."""

from __future__ import annotations

import asyncio
import threading

import pytest

from controlplane.timeline.thread import DaemonThread

DEADLINE = 20


async def test_a_call_that_was_given_up_does_not_run() -> None:
    """So queries whose callers have gone are not made up for when the disk answers again."""
    thread, begun, go, ran = DaemonThread("test"), threading.Event(), threading.Event(), list[str]()

    def hang() -> bool:
        begun.set()
        return go.wait(DEADLINE)

    held = asyncio.ensure_future(thread.run(hang))
    assert await asyncio.to_thread(begun.wait, DEADLINE)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await thread.run(lambda: ran.append("given up"))
    go.set()
    async with asyncio.timeout(DEADLINE):
        assert await held
        await thread.run(lambda: ran.append("next"))
    thread.end()
    assert ran == ["next"]
