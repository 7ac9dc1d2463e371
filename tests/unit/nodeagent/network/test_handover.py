"""Sockets that one thread opens and another uses are closed once, however that ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import ParamSpec, TypeVar

import pytest

from nodeagent.network import handover
from nodeagent.network.interface import NetworkError
from nodeagent.node.pools import PoolBusy
from nodeagent.node.threads import Threads
from pinnace.clock import settle
from tests.support.awaiting import eventually

P = ParamSpec("P")
T = TypeVar("T")


class Sockets:
    """Two that work needs; the second one may fail."""

    def __init__(self, error: OSError | None = None) -> None:
        self.events, self.error = list[str](), error

    @contextmanager
    def socket(self) -> Iterator[None]:
        self.events.append("open")
        try:
            yield
        finally:
            self.events.append("close")

    def prepare(self, sockets: ExitStack) -> Callable[[], str]:
        sockets.enter_context(self.socket())
        if self.error is not None:
            raise self.error
        sockets.enter_context(self.socket())
        return self.work

    def work(self) -> str:
        self.events.append("work")
        return "done"


class Busy(Threads):
    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        raise PoolBusy("busy")


def threads() -> Threads:
    return Threads("handover", 1)


async def visit(work: Callable[[], None]) -> None:
    work()


async def test_sockets_are_closed_after_the_work() -> None:
    own = Sockets()
    assert await handover.run(visit, threads(), own.prepare) == "done"
    assert own.events == ["open", "open", "work", "close", "close"]


async def test_the_first_socket_is_closed_if_the_second_cannot_be_opened() -> None:
    own = Sockets(OSError(24, "Too many open files"))
    with pytest.raises(OSError, match="Too many"):
        await handover.run(visit, threads(), own.prepare)
    assert own.events == ["open", "close"]


async def test_sockets_are_closed_if_no_thread_takes_the_work() -> None:
    own = Sockets()
    with pytest.raises(PoolBusy):
        await handover.run(visit, Busy("busy", 1), own.prepare)
    assert own.events == ["open", "open", "close", "close"]


async def test_no_sockets_stay_open_after_the_deadline_of_the_visit() -> None:
    """Whether they are opened before or after it."""
    late = list[Callable[[], None]]()

    async def before(work: Callable[[], None]) -> None:
        late.append(work)
        raise NetworkError("no answer")

    async def after(work: Callable[[], None]) -> None:
        work()
        raise NetworkError("no answer")

    first, second = Sockets(), Sockets()
    for own, visited in ((first, before), (second, after)):
        with pytest.raises(NetworkError):
            await handover.run(visited, threads(), own.prepare)
    with pytest.raises(handover.Abandoned):
        late[0]()
    assert (first.events, second.events) == ([], ["open", "open", "close", "close"])


async def test_a_caller_that_is_cancelled_leaves_no_sockets() -> None:
    """They stay open until work that has begun is done; work that waits for a thread is not begun."""
    begun, may_end = threading.Event(), threading.Event()

    class Slow(Sockets):
        def work(self) -> str:
            begun.set()
            may_end.wait(60)
            return super().work()

    one, running, waiting = threads(), Slow(), Sockets()
    tasks = [asyncio.ensure_future(handover.run(visit, one, own.prepare)) for own in (running, waiting)]
    try:
        await settle()
        await eventually(begun.is_set)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (running.events, waiting.events) == (["open", "open"], ["open", "open", "close", "close"])
    finally:
        may_end.set()
    await eventually(lambda: running.events == ["open", "open", "work", "close", "close"])
    assert waiting.events == ["open", "open", "close", "close"]
