"""The objects that are in the store and that no reader sees, for a user who repairs it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.store.watchcache import WatchCache

# Keys in one report.
MAX_DAMAGED = 1_000


@dataclass(frozen=True, slots=True)
class Damage:
    """`quarantined`: keys of rows that the backend put aside, in `file`, of which no object has been made anew. `unreadable`:
    keys of values that are no object. `truncated`: there are more."""

    quarantined: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    file: str = ""
    truncated: bool = False

    @classmethod
    def of(cls, quarantined: Iterable[str], file: str, cache: WatchCache) -> Damage:
        """At most MAX_DAMAGED keys of each."""
        lost = tuple(key for key in quarantined if not cache.has(key))
        bad = tuple(sorted(cache.unreadable))
        most = MAX_DAMAGED
        return cls(lost[:most], bad[:most], file, truncated=len(lost) > most or len(bad) > most)
