"""Time during which this control plane has been observing: the measure of lateness. No I/O, no clock.

A lease is late, a toleration has passed or a node stays away only as long as the control plane was able to see the
opposite. So its time is not the wall clock's, which steps, nor the monotonic clock's, which also runs while the process is
frozen, while its event loop is blocked, and while the store cannot be written or watched. It runs from one observed
change to the next, and what lies between two counts up to MAX_GAP. The leader's own Lease is renewed through the store
every two seconds, so in a healthy control plane nothing is cut off, and any interruption costs at most MAX_GAP.
"""

from __future__ import annotations

# Seconds: twice the period in which the leader's Lease is renewed.
MAX_GAP = 4.0


class WatchedTime:
    """Seconds of observation since `start`, a monotonic time."""

    def __init__(self, start: float) -> None:
        self._total = 0.0
        self._last = start

    def observe(self, monotonic: float) -> float:
        """A change was observed; returns the watched time."""
        if monotonic > self._last:
            self._total = self.at(monotonic)
            self._last = monotonic
        return self._total

    def at(self, monotonic: float) -> float:
        """The watched time; never less than what an earlier call returned for an earlier time."""
        return self._total + min(max(monotonic - self._last, 0.0), MAX_GAP)
