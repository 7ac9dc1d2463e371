"""Reports of exceptions that clients can cause, and repeat."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

log = logging.getLogger("pinnace.dns")
# Seconds between reports.
EVERY = 10.0


class Reports:
    """The first exception within some seconds is logged, with its trace. `now` is in seconds, monotonic."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._last = -math.inf

    def exception(self, event: str, error: BaseException | None = None) -> None:
        """The one that is handled, or `error`."""
        if self._now() - self._last >= EVERY:
            self._last = self._now()
            log.error(event, exc_info=error or True)
