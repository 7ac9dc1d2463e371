"""Time during which this control plane has been observing: the measure of lateness. No I/O, no clock.

A lease is late, a toleration has passed or a node stays away only as long as the control plane was able to see the
opposite. So its time is not the wall clock's, which steps, nor the monotonic clock's, which also runs while the process is
frozen, while its event loop is blocked, and while the store cannot be written or watched. It runs from one observed
change to the next, and what lies between two counts up to MAX_GAP. The leader's own Lease is renewed through the store
every two seconds, so in a healthy control plane nothing is cut off, and any interruption costs at most MAX_GAP.

An advance of a lab's clock (`pinnace.labclock`) counts in full, since it is no interruption.
"""

from __future__ import annotations

# Seconds: twice the period in which the leader's Lease is renewed.
MAX_GAP = 4.0


class WatchedTime:
    """Seconds of observation since `start`, a monotonic time. `advanced`: the seconds of a monotonic time that are advances of
    the clock."""

    def __init__(self, start: float, advanced: float = 0.0) -> None:
        self._total = 0.0
        self._last = start - advanced
        self._advanced = advanced

    def observe(self, monotonic: float, advanced: float = 0.0) -> float:
        """A change was observed; returns the watched time."""
        passed = monotonic - advanced
        if passed > self._last:
            self._total = self._at(passed)
            self._last = passed
        return self._total + advanced - self._advanced

    def at(self, monotonic: float, advanced: float = 0.0) -> float:
        """The watched time; never less than an earlier call returned for an earlier time."""
        return self._at(monotonic - advanced) + advanced - self._advanced

    def _at(self, passed: float) -> float:
        return self._total + min(max(passed - self._last, 0.0), MAX_GAP)
