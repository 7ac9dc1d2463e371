"""Slots that owners share: a bounded number in all, a bounded number for each owner, and among owners that wait each in turn.

An owner is a pod, or a file system: one that asks for everything, or whose slots never come back, leaves the rest to the
others.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import Hashable


class FairSlots:
    """`total` slots, at most `each` of one owner. For one event loop. Cost: of a release, the owners that wait."""

    def __init__(self, total: int, each: int) -> None:
        self.free = total
        self._each = each
        self._held: Counter[Hashable] = Counter()
        # By owner, the one whose turn is next first.
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    def waiting(self, owner: Hashable) -> int:
        """How many callers of an owner wait."""
        return len(self._waiting.get(owner, ()))

    async def acquire(self, owner: Hashable) -> None:
        """Take a slot; while there is none, wait for the owner's turn. Callers of one owner are served in their order."""
        if self.free > 0 and owner not in self._waiting and self._held[owner] < self._each:
            self._take(owner)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(owner)
            else:
                self._drop(owner, turn)
            raise

    def release(self, owner: Hashable) -> None:
        """Give a slot back, once for each that was acquired."""
        self.free += 1
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
        while self.free > 0 and (following := self._next()):
            self._grant(*following)

    def _next(self) -> list[Hashable]:
        """The owner whose turn it is; none where all that wait have their share."""
        return list(itertools.islice((owner for owner in self._waiting if self._held[owner] < self._each), 1))

    def _grant(self, owner: Hashable) -> None:
        turns = self._waiting.pop(owner)
        turn = turns.popleft()
        if turns:
            # Behind the others: its next turn comes after theirs.
            self._waiting[owner] = turns
        if not turn.done():
            self._take(owner)
            turn.set_result(None)

    def _take(self, owner: Hashable) -> None:
        self.free -= 1
        self._held[owner] += 1

    def _drop(self, owner: Hashable, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(owner, deque())
        if turn in turns:
            turns.remove(turn)
        if not turns:
            self._waiting.pop(owner, None)
