"""Turns of requests: how many are served at once, and which user is next when there are more.

Users wait in lines of their own and are served in turn, so that one with many requests delays the others by one request each
at most. Watches and streams do not count: they wait more than they work, and connections have limits already.

Source: "API Priority and Fairness" of Kubernetes, with one priority level for reads and one for writes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pinnace.errors import TooManyRequests

# Requests that are served at once (kube-apiserver's --max-requests-inflight and --max-mutating-requests-inflight), those of one
# user that wait, and users that wait.
READS, WRITES = 400, 200
LINE, USERS = 100, 1000
# Seconds that a request waits for its turn.
PATIENCE = 15.0


class Flow:
    def __init__(self, limit: int, *, line: int = LINE, users: int = USERS, patience: float = PATIENCE) -> None:
        self._free = limit
        self._line = line
        self._users = users
        self._patience = patience
        # By user, in the order of their turns.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def turn(self, user: str) -> AsyncIterator[None]:
        """Around a request. Raises TooManyRequests when the user has too many that wait, or this one has waited too long."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(user)
        try:
            yield
        finally:
            self._release()

    async def _wait(self, user: str) -> None:
        line = self._waiting.get(user)
        if (line is None and len(self._waiting) >= self._users) or (line is not None and len(line) >= self._line):
            raise _refusal()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(user, deque()).append(turn)
        try:
            async with asyncio.timeout(self._patience):
                await turn
        except BaseException as error:
            self._leave(user, turn)
            if isinstance(error, TimeoutError):
                raise _refusal() from None
            raise

    def _leave(self, user: str, turn: asyncio.Future[None]) -> None:
        """A request gives up; the turn that it may have been given is the next one's."""
        line = self._waiting.get(user)
        if line is not None and turn in line:
            line.remove(turn)
            if not line:
                del self._waiting[user]
        elif turn.done() and not turn.cancelled():
            self._release()

    def _release(self) -> None:
        while self._waiting:
            user, line = next(iter(self._waiting.items()))
            del self._waiting[user]
            turn = line.popleft()
            if line:
                # The user's next turn is after everyone else's.
                self._waiting[user] = line
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


def _refusal() -> TooManyRequests:
    return TooManyRequests("too many requests, please try again later", retry_after=1)
