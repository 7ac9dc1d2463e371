"""A thread that a stuck disk may hold for ever: unlike an executor's, the process does not wait for it at its end."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class DaemonThread:
    """Runs functions one after the other. Started by the first one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, fn: Callable[[], T]) -> T:
        """What the function returns. Raises what it raises. Cancelled before it begins, the function does not run."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def call() -> None:
            # Its caller gave up while an earlier call held the thread.
            if done.done():
                return
            try:
                result = fn()
            except BaseException as error:
                _tell(loop, done, done.set_exception, error)
            else:
                _tell(loop, done, done.set_result, result)

        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._calls.put(call)
        return await done

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def end(self) -> None:
        """After the functions that were given to it."""
        self._calls.put(None)


def _tell(loop: asyncio.AbstractEventLoop, done: asyncio.Future[Any], tell: Callable[[Any], None], value: Any) -> None:
    def on_loop() -> None:
        if not done.done():
            tell(value)

    # The loop may be closed.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(on_loop)
