"""Handshakes that an address may begin."""

from __future__ import annotations

from pinnace.clock import Clock

MAX_PEERS = 4096


class Allowance:
    """A token bucket for each peer (`burst` at once, `rate` a second), of the peers that were seen last."""

    def __init__(self, clock: Clock, rate: float, burst: float) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, peer: str) -> bool:
        now = self._clock.monotonic()
        left, since = self._left.pop(peer, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        allowed = left >= 1
        self._left[peer] = (left - allowed, now)
        if len(self._left) > MAX_PEERS:
            del self._left[next(iter(self._left))]
        return allowed
