"""Shares linearizable reads: callers that arrive while one is in progress wait for the next one, together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class SharedRead:
    def __init__(self, read: Callable[[], Awaitable[int]]) -> None:
        self._read = read
        self._next: asyncio.Future[int] | None = None
        self._running: asyncio.Future[int] | None = None

    async def read(self) -> int:
        """The result of a read that began after this call. Raises what the read raises."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._run(self._running))
            # Also when every caller was cancelled, its error counts as seen.
            self._next.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._next)

    async def _run(self, previous: asyncio.Future[int] | None) -> int:
        if previous is not None:
            await asyncio.wait([previous])
        # Later callers need a later read.
        self._running, self._next = self._next, None
        return await self._read()
