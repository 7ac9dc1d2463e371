"""Flow control of SPDY/3.1: how much each side may send, for each stream and for the connection as a whole.

The client of Kubernetes (spdystream) has none: it neither counts nor answers WINDOW_UPDATE, and would stall for ever if its
windows were respected. Hence windows of a client count once it has shown that it has them, by a WINDOW_UPDATE or by an initial
size in its SETTINGS; until then TCP alone blocks the sender. Our own windows are opened when they are used up: a client that
sends more than it was granted counts none, and gets no further WINDOW_UPDATE.

Source: SPDY Protocol Draft 3.1, section 2.6.8.
"""

from __future__ import annotations

from controlplane.rest.streams.spdyframes import MAX_WINDOW

INITIAL = 64 << 10


class SendWindow:
    """Bytes that may be sent; negative after the client has reduced its initial size."""

    def __init__(self, size: int = INITIAL) -> None:
        self.left = size

    def use(self, count: int) -> None:
        self.left -= count

    def open(self, count: int) -> bool:
        """False when the window exceeds its maximum, or `count` is 0."""
        self.left += count
        return count > 0 and self.left <= MAX_WINDOW


class ReceiveWindow:
    """Bytes that the client may send, and those of them that were not consumed yet."""

    def __init__(self) -> None:
        self._granted = INITIAL
        self._held = 0

    def receive(self, count: int) -> bool:
        """False when the client sent more than it was granted."""
        self._granted -= count
        self._held += count
        return self._granted >= 0

    def consume(self, count: int) -> int:
        """Bytes to grant now: a whole window once the last one is used up and consumed, else 0."""
        self._held -= count
        if self._granted > 0 or self._held > 0:
            return 0
        self._granted += INITIAL
        return INITIAL
