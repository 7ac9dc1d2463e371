"""The scheduler's decisions as attempts of the timeline. Without an import of the scheduler, which the first pod loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.timeline.recorder import Recorder
from controlplane.timeline.records import Attempt

if TYPE_CHECKING:
    from controlplane.scheduler.placement import Decision
    from controlplane.scheduler.service import Attempted


def sink(recorder: Recorder | None) -> Attempted | None:
    """Records each attempt that the scheduler tells of; None without a recorder."""
    if recorder is None:
        return None

    def attempted(decision: Decision, number: int) -> None:
        pod = decision.pod
        namespace, _, name = pod.key.partition("/")
        rejected = tuple(sorted(decision.rejected.items(), key=lambda item: (-item[1], item[0])))
        recorder.attempt(
            Attempt(
                namespace, name, pod.uid, number, decision.message, decision.node, decision.nodes, decision.feasible,
                rejected, decision.failed,
            )
        )  # fmt: skip

    return attempted
