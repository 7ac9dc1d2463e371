"""Netlink sockets that one thread opens and another one uses: the thread of netlink is in the node's network namespace, and
work that lasts is done elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Generic, TypeVar

from nodeagent.node.threads import Threads

T = TypeVar("T")
# Opens sockets, which are closed with the stack, and returns the work with them.
Prepare = Callable[[ExitStack], Callable[[], T]]


class Abandoned(OSError):
    """The caller has been cancelled, or its deadline has passed."""


async def run(visit: Callable[[Callable[[], None]], Awaitable[None]], threads: Threads, prepare: Prepare[T]) -> T:
    """Call `prepare` by `visit`, then its work in one of `threads`; returns the result. The sockets are closed when the work
    has ended, also without a caller, or when it will not begin. Raises what these raise."""
    handover = _Handover(prepare)
    try:
        await visit(handover.open)
        return await threads.run(handover.work)
    finally:
        handover.abandon()


class _Handover(Generic[T]):
    """Between three threads: `open`, then `work`, and `abandon` at any time, which has no effect on work that has begun."""

    def __init__(self, prepare: Prepare[T]) -> None:
        self._prepare = prepare
        self._lock = threading.Lock()
        self._sockets = ExitStack()
        self._work: Callable[[], T] | None = None
        self._abandoned = False

    def open(self) -> None:
        with self._lock, ExitStack() as sockets:
            if self._abandoned:
                raise Abandoned("abandoned before it began")
            self._work = self._prepare(sockets)
            self._sockets = sockets.pop_all()

    def work(self) -> T:
        with self._lock:
            if self._work is None or self._abandoned:
                raise Abandoned("abandoned before it began")
            # From here on they are closed below.
            sockets, work = self._sockets.pop_all(), self._work
        with sockets:
            return work()

    def abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            self._sockets.close()
