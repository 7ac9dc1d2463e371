"""What each filter and score says of each node for one pod, computed when a user asks."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.scheduler import arrays as np
from controlplane.scheduler.placement import feasible, prevented
from controlplane.scheduler.plugins import Detailing, Filter, Profile
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import NodeTable


@dataclass(frozen=True, slots=True)
class Verdict:
    """One node: why it is rejected, or the weighted scores by plugin."""

    node: str
    reasons: tuple[str, ...] = ()
    scores: dict[str, float] | None = None


def verdicts(pod: PodInfo, table: NodeTable, profile: Profile) -> list[Verdict]:
    """Every node by name, as it is now; the pod itself is not counted, wherever it is."""
    with table.without(pod.key):
        found = prevented(pod, table, profile)
        if found is not None:
            return [Verdict(name, (found[1],)) for name in sorted(filter(None, table.names))]
        reasons = _reasons(pod, table, profile)
        scores = _scores(pod, table, profile)
    every = [Verdict(table.names[row], tuple(texts)) for row, texts in reasons.items()]
    every += [Verdict(table.names[row], (), rated) for row, rated in scores.items()]
    return sorted(every, key=lambda verdict: verdict.node)


def _reasons(pod: PodInfo, table: NodeTable, profile: Profile) -> dict[int, list[str]]:
    left = table.alive[table.rows].copy()
    found: dict[int, list[str]] = {}
    for item in profile.filters:
        reasons = item.reasons(pod, table, table.rows)
        for reason, mask in reasons.items():
            for row in np.flatnonzero(mask & left):
                found.setdefault(int(row), []).append(_detailed(reason, item, pod, table, int(row)))
        for mask in reasons.values():
            left &= ~mask
    return found


def _detailed(reason: str, item: Filter, pod: PodInfo, table: NodeTable, row: int) -> str:
    detail = item.detail(pod, table, row) if isinstance(item, Detailing) else ""
    return f"{reason} ({detail})" if detail else reason


def _scores(pod: PodInfo, table: NodeTable, profile: Profile) -> dict[int, dict[str, float]]:
    fits = feasible(pod, table, profile, table.rows)
    rows = [int(row) for row in np.flatnonzero(fits)]
    found: dict[int, dict[str, float]] = {row: {} for row in rows}
    for item in profile.scores:
        rated = item.scores(pod, table, table.rows, fits)
        for row in rows:
            score = 100.0 if rated is None else float(rated[row])
            found[row][item.name] = round(score * item.weight, 1)
    return found
