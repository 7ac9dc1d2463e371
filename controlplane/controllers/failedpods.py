"""How long pods that failed are left before they are replaced: longer after each failure in succession.

Kept in memory, as in kube-controller-manager: a new leader replaces the first failed pod at once.
Source: the daemon controller's failedPodsBackoff (client-go's flowcontrol.Backoff).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

# Seconds: the first delay, the longest, and after a failure the time that resets the delay.
FIRST, LONGEST, RESET = 1.0, 900.0, 1800.0
# Places remembered, those that failed last.
MAX_PLACES = 20_000
Place = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class _Failure:
    """The last replacement at a place: of which pod, when, and how many seconds until the next."""

    uid: str
    at: float
    delay: float


class FailedPods:
    """By place: UID and generation of the workload, and a node. Times are the caller's, in seconds."""

    def __init__(self) -> None:
        self._failures: OrderedDict[Place, _Failure] = OrderedDict()

    def wait(self, place: Place, uid: str, now: float) -> float:
        """Seconds until a failed pod may be replaced; 0 records that it is replaced now.

        The same pod is recorded once: a reconciliation may run several times before it is committed."""
        last = self._failures.get(place)
        if last is not None and last.uid == uid:
            return 0.0
        if last is None or now - last.at > RESET:
            self._record(place, _Failure(uid, now, FIRST))
            return 0.0
        if now - last.at < last.delay:
            return last.at + last.delay - now
        self._record(place, _Failure(uid, now, min(2 * last.delay, LONGEST)))
        return 0.0

    def _record(self, place: Place, failure: _Failure) -> None:
        self._failures[place] = failure
        self._failures.move_to_end(place)
        if len(self._failures) > MAX_PLACES:
            self._failures.popitem(last=False)
