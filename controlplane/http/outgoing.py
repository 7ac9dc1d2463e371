"""Bytes of responses that clients have not taken yet: bounded for each user, and for all of them together.

A client that asks and does not read holds its response until the time for a part of it is up. A user may have thousands of
connections, which would hold gigabytes. So a user who has too much on the way waits: the next piece is written when another one
has left. Other users have a share of their own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# Bytes on the way to all clients, and to those of one user, of which one piece alone may have more.
ALL, SHARE = 64 << 20, 16 << 20
# Bytes of a user's pieces that wait for others to leave: they are in memory already.
LINE = 48 << 20
# Bytes of a piece that is not counted: it costs as much as its connection.
SMALL = 16 << 10


class Congested(Exception):
    """Too much of the user waits already."""


class Outgoing:
    def __init__(self, *, limit: int = ALL, share: int = SHARE, line: int = LINE) -> None:
        self._limit = limit
        self._share = share
        self._line = line
        self._used = 0
        # By user, of those that have or want any.
        self._held: dict[str, int] = {}
        # In the order in which they came, which is kept for each user.
        self._waiting: deque[tuple[str, int, asyncio.Future[None]]] = deque()

    @property
    def used(self) -> int:
        """Bytes that are on the way."""
        return self._used

    @asynccontextmanager
    async def room(self, user: str, size: int) -> AsyncIterator[None]:
        """Around the write of so many bytes; waits for other writes of the user to end. Raises Congested."""
        if size <= SMALL:
            yield
            return
        if not self._fits(user, size) or any(each[0] == user for each in self._waiting):
            await self._wait(user, size)
        else:
            self._take(user, size)
        try:
            yield
        finally:
            self._release(user, size)

    def _fits(self, user: str, size: int) -> bool:
        held = self._held.get(user, 0)
        return not held or (held + size <= self._share and self._used + size <= self._limit)

    def _take(self, user: str, size: int) -> None:
        self._used += size
        self._held[user] = self._held.get(user, 0) + size

    def _release(self, user: str, size: int) -> None:
        self._used -= size
        self._held[user] -= size
        if not self._held[user]:
            del self._held[user]
        self._admit()

    def _admit(self) -> None:
        """Let those in that fit now; of each user in order."""
        left, blocked = deque[tuple[str, int, asyncio.Future[None]]](), set[str]()
        for user, size, turn in self._waiting:
            if turn.done():
                continue
            if user in blocked or not self._fits(user, size):
                blocked.add(user)
                left.append((user, size, turn))
            else:
                self._take(user, size)
                turn.set_result(None)
        self._waiting = left

    async def _wait(self, user: str, size: int) -> None:
        if sum(each[1] for each in self._waiting if each[0] == user) + size > self._line:
            raise Congested
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((user, size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release(user, size)
            else:
                # The next of the user may be smaller.
                turn.cancel()
                self._admit()
            raise
