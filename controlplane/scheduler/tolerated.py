"""The taints that a pod tolerates, found without a loop over its tolerations: a pod may have thousands, and a cluster too."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from controlplane.scheduler.nodeinfo import Taint
from controlplane.scheduler.podinfo import Toleration
from pinnace import formats

# The toleration that includes the most: the smallest limit of Gt, the largest of Lt.
_WIDEST: dict[str, Callable[[int, int], int]] = {"Gt": min, "Lt": max}


class Tolerated:
    """Agrees with `pinnace.taints.tolerates` for any of the tolerations."""

    def __init__(self, tolerations: Iterable[Toleration]) -> None:
        self._existing: set[tuple[str, str]] = set()
        self._equal: set[tuple[str, str, str]] = set()
        self._limits: dict[tuple[str, str, str], int] = {}
        for item in tolerations:
            if item.operator == "Exists":
                self._existing.add((item.key, item.effect))
            elif item.operator in _WIDEST:
                self._limit(item)
            elif item.operator in ("", "Equal"):
                self._equal.add((item.key, item.effect, item.value))

    def _limit(self, item: Toleration) -> None:
        if not formats.decimal(item.value):
            key, limit = (item.operator, item.key, item.effect), int(item.value)
            self._limits[key] = _WIDEST[item.operator](self._limits.get(key, limit), limit)

    def includes(self, taint: Taint) -> bool:
        # An empty key or effect of a toleration matches all.
        matches = [(key, effect) for key in (taint.key, "") for effect in (taint.effect, "")]
        if any(match in self._existing or (*match, taint.value) in self._equal for match in matches):
            return True
        if not self._limits or formats.decimal(taint.value):
            return False
        return any(self._beyond(match, int(taint.value)) for match in matches)

    def _beyond(self, match: tuple[str, str], value: int) -> bool:
        above, below = self._limits.get(("Gt", *match)), self._limits.get(("Lt", *match))
        return (above is not None and value > above) or (below is not None and value < below)
