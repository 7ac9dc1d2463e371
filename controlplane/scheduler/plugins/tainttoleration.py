"""Refuses nodes with a NoSchedule or NoExecute taint that the pod does not tolerate; prefers fewer PreferNoSchedule.

Source: the taints and tolerations concept page of Kubernetes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import Mask, NodeTable


def tolerates(toleration: Any, key: str, value: str, effect: str) -> bool:
    if toleration.effect and toleration.effect != effect:
        return False
    if toleration.key and toleration.key != key:
        return False
    return toleration.operator == "Exists" or bool(toleration.value == value)


def untolerated(pod_tolerations: tuple[Any, ...], taints: Any, effects: tuple[str, ...]) -> Any | None:
    """The first taint with one of `effects` that nothing tolerates."""
    for taint in taints:
        if taint.effect in effects and not any(
            tolerates(item, taint.key, taint.value, taint.effect) for item in pod_tolerations
        ):
            return taint
    return None


class TaintToleration:
    name = "TaintToleration"
    weight = 3.0

    def refusals(self, pod: PodInfo, table: NodeTable) -> dict[str, Mask]:
        found: dict[str, Mask] = {}
        for index, taints in enumerate(table.taints):
            taint = untolerated(pod.tolerations, taints, ("NoSchedule", "NoExecute")) if taints else None
            if taint is not None:
                reason = f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
                found.setdefault(reason, np.zeros(len(table), dtype=np.bool_))[index] = True
        return found

    def scores(self, pod: PodInfo, table: NodeTable) -> NDArray[np.float64]:
        counts = np.array([self._preferences(pod, taints) for taints in table.taints], dtype=np.float64)
        top = counts.max(initial=0.0)
        return 100.0 * (1 - counts / top) if top else np.full(len(table), 100.0)

    def _preferences(self, pod: PodInfo, taints: tuple[Any, ...]) -> int:
        return sum(1 for taint in taints if untolerated(pod.tolerations, (taint,), ("PreferNoSchedule",)) is not None)
