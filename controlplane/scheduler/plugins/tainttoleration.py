"""Rejects nodes with a NoSchedule or NoExecute taint that the pod does not tolerate; prefers fewer PreferNoSchedule.

Source: the taints and tolerations concept page of Kubernetes.
"""

from __future__ import annotations

from controlplane.scheduler import arrays as np
from controlplane.scheduler.arrays import Floats, Mask
from controlplane.scheduler.clusterevent import ClusterEvent
from controlplane.scheduler.plugins.normalize import fewest_is_best
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import NodeTable

# Different taints that a message names; nodes with others are counted together.
MAX_NAMED = 20
OTHERS = "node(s) had other untolerated taints"


class TaintToleration:
    name = "TaintToleration"
    weight = 3.0
    wide = False
    resolvable = False
    events = ClusterEvent.UPDATE_NODE_TAINT

    def rejects(self, pod: PodInfo, table: NodeTable, rows: slice) -> Mask | None:
        if not table.taint_sets.tainted:
            return None
        blocking = table.taint_sets.verdicts(pod.tolerations).blocking
        return blocking[table.taint_set[rows]] if blocking.any() else None

    def reasons(self, pod: PodInfo, table: NodeTable, rows: slice) -> dict[str, Mask]:
        verdicts, numbers = table.taint_sets.verdicts(pod.tolerations), table.taint_set[rows]
        found: dict[str, Mask] = {}
        for number in np.unique(numbers[verdicts.blocking[numbers]]):
            taint = verdicts.blocker[number]
            assert taint is not None
            reason = f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
            reason = reason if reason in found or len(found) < MAX_NAMED else OTHERS
            mask = numbers == number
            found[reason] = found[reason] | mask if reason in found else mask
        return found

    def scores(self, pod: PodInfo, table: NodeTable, rows: slice, fits: Mask) -> Floats | None:
        if not table.taint_sets.tainted:
            return None
        avoided = table.taint_sets.verdicts(pod.tolerations).avoided
        if not avoided.any():
            return None
        return fewest_is_best(avoided[table.taint_set[rows]], fits)
