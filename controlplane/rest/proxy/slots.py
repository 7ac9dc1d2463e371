"""How many proxied requests are open at once: each holds a stream of a node, which exec, logs and statistics need too."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager

from controlplane.http.messages import Chunks
from pinnace.errors import TooManyRequests

# Of one user, and of all together: half of the streams that a node, and a control plane, carry at most.
PER_USER, TOTAL = 100, 500


class Slots:
    def __init__(self, *, per_user: int = PER_USER, total: int = TOTAL) -> None:
        self._per_user = per_user
        self._total = total
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken(self, user: str) -> Iterator[None]:
        """Around a request, to the end of its response. Raises TooManyRequests."""
        if self._taken[user] >= self._per_user:
            raise TooManyRequests(f'user "{user}" has {self._per_user} proxied requests open already', retry_after=1)
        if self._taken.total() >= self._total:
            raise TooManyRequests(f"{self._total} proxied requests are open already", retry_after=1)
        self._taken[user] += 1
        try:
            yield
        finally:
            self._taken[user] -= 1
            # A user who has none costs no memory.
            self._taken += Counter()


async def held(chunks: Chunks, until_end: AsyncExitStack) -> AsyncGenerator[bytes, None]:
    """The chunks, and the stack closed after them. The first is empty: a generator that has not begun is not closed either."""
    async with until_end, aclosing(chunks) as pieces:
        yield b""
        async for piece in pieces:
            yield piece
