"""One accepted connection as its handler sees it: its stream, its deadline, and whose it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from controlplane.http.limits import Limits


class Reader(asyncio.StreamReader):
    """Tells of the peer's end at once, also while nothing is read."""

    on_eof: Callable[[], None] | None = None

    def feed_eof(self) -> None:
        super().feed_eof()
        if self.on_eof is not None:
            self.on_eof()


@dataclass(slots=True, eq=False)
class Connection:
    """One accepted connection. `serving`: its request is complete, and it is not closed to make room. `user`: its owner,
    empty for a stranger's."""

    peer: str
    reader: Reader
    limits: Limits
    admitted: Callable[[Connection, str], bool]
    serves: Callable[[], int]
    writer: asyncio.StreamWriter | None = None
    task: asyncio.Task[None] | None = None
    deadline: asyncio.Timeout | None = None
    user: str = ""
    serving: bool = False
    evicted: bool = False

    def expect(self, seconds: float | None) -> None:
        """From now on the connection is closed after so long, or not at all. Nothing if it is being closed."""
        if self.deadline is None or self.deadline.expired():
            return
        self.deadline.reschedule(None if seconds is None else asyncio.get_running_loop().time() + seconds)

    def admit(self, user: str) -> bool:
        """The connection is a known user's. False when the user, or all together, have too many that are busy."""
        return self.user == user or self.admitted(self, user)

    def begin(self) -> bool:
        """The request is complete. False when too many strangers are served."""
        self.serving = bool(self.user) or self.serves() < self.limits.serving
        self.expect(None if self.user else self.limits.response)
        return self.serving

    def end(self, keep_alive: float) -> None:
        """The response is sent: the connection is idle, for so many seconds at most."""
        self.serving = False
        self.expect(keep_alive)

    def grace(self) -> float | None:
        """Seconds until the deadline, which becomes later by the time that an answer takes; None without a deadline."""
        when = self.deadline.when() if self.deadline is not None else None
        if when is None:
            return None
        seconds = when - asyncio.get_running_loop().time()
        self.expect(seconds + self.limits.shutdown)
        return seconds

    def end_with_peer(self, *, wanted: bool) -> None:
        """Whether the end of the peer's stream ends the connection, even while nothing is read."""
        self.reader.on_eof = (lambda: self.expect(0)) if wanted else None
        if wanted and self.reader.at_eof():
            self.expect(0)
