"""Deletes Jobs that have been finished for ttlSecondsAfterFinished, with their pods. Root kind: Job.

Source: kube-controller-manager's ttlafterfinished_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.controllers import podcontrol
from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.store import Event, Tx
from pinnace import kinds
from pinnace.admission.jobstatuses import COMPLETE, FAILED, is_finished
from pinnace.clock import RandomIds
from pinnace.kinds import Kind


class TTLAfterFinished:
    name = "ttl-after-finished"
    watches: tuple[Kind, ...] = (kinds.JOB,)

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        if event.new is not None and event.new.message.spec.HasField("ttlSecondsAfterFinished"):
            yield "/".join(event.row.key.rsplit("/", 2)[1:])

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace, _, name = key.partition("/")
        item = tx.get(kinds.JOB, namespace, name)
        if item is None or not item.spec.HasField("ttlSecondsAfterFinished") or not is_finished(item):
            return None
        if item.metadata.deletionTimestamp.seconds:
            return None
        ended = max(
            condition.lastTransitionTime.seconds
            for condition in item.status.conditions
            if condition.type in (COMPLETE, FAILED) and condition.status == "True"
        )
        left = ended + item.spec.ttlSecondsAfterFinished - now.wall
        if left > 0:
            return Requeue(left)
        call = verbs.Call(now.wall, RandomIds(), podcontrol.MANAGER)
        verbs.delete(tx, kinds.JOB, namespace, name, call, uid=item.metadata.uid, propagation=verbs.FOREGROUND)
        return None
