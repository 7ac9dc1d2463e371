"""Makes the claims of pods with `ephemeral` volumes: POD-VOLUME, owned by the pod and deleted with it. Root kind: Pod.

Source: kube-controller-manager's ephemeral volume controller.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane import events
from controlplane.controllers.podcontrol import ENDED, MANAGER, Workload
from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.resources.pod import CLAIM
from controlplane.store import Event, Tx
from pinnace import kinds, persistentvolumes
from pinnace.clock import Ids, RandomIds
from pinnace.core.v1.persistentvolumeclaim_pb2 import PersistentVolumeClaim
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.errors import ApiError
from pinnace.kinds import Kind

# Seconds until a claim that was rejected is tried again.
RETRY = 10.0


class EphemeralVolumes:
    name = "ephemeral-volume"
    watches: tuple[Kind, ...] = (kinds.POD, kinds.PERSISTENT_VOLUME_CLAIM)

    def __init__(self, ids: Ids | None = None) -> None:
        self._ids = ids or RandomIds()

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        if event.row.kind is kinds.POD:
            if event.new is not None and _needs(event.new.message):
                yield event.row.key.removeprefix(kinds.POD.prefix)
        elif event.new is None:
            name = event.row.key.removeprefix(kinds.PERSISTENT_VOLUME_CLAIM.prefix)
            for row in view.by_index(kinds.POD, CLAIM, name):
                if _needs(row.message):
                    yield row.key.removeprefix(kinds.POD.prefix)

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        pod = tx.get(kinds.POD, *key.split("/"))
        if pod is None or not _needs(pod):
            return None
        again = None
        for volume in pod.spec.volumes:
            if volume.volumeSource.HasField("ephemeral") and not self._make(tx, pod, volume, now.wall):
                again = Requeue(RETRY)
        return again

    def _make(self, tx: Tx, pod: Pod, volume: Any, now: float) -> bool:
        """Returns whether the claim is there, as the pod's or as another's."""
        name = f"{pod.metadata.name}-{volume.name}"
        found = tx.get(kinds.PERSISTENT_VOLUME_CLAIM, pod.metadata.namespace, name)
        if found is not None:
            if not persistentvolumes.is_owned_by(found, pod):
                where = pod.metadata.namespace
                text = f"PVC {where}/{name} was not created for pod {where}/{pod.metadata.name} (pod is not owner)"
                _report(tx, pod, text, now)
            return True
        try:
            verbs.create(tx, kinds.PERSISTENT_VOLUME_CLAIM, _claim(pod, volume, name), verbs.Call(now, self._ids, MANAGER))
        except ApiError as error:
            _report(tx, pod, f"create PVC {name}: {error}", now)
            return False
        return True


def _needs(pod: Pod) -> bool:
    if pod.metadata.deletionTimestamp.seconds or pod.status.phase in ENDED:
        return False
    return any(claim.ephemeral for claim in persistentvolumes.claims_of(pod))


def _claim(pod: Pod, volume: Any, name: str) -> PersistentVolumeClaim:
    template = volume.volumeSource.ephemeral.volumeClaimTemplate
    claim = PersistentVolumeClaim(spec=template.spec)
    claim.metadata.name, claim.metadata.namespace = name, pod.metadata.namespace
    claim.metadata.labels.update(template.metadata.labels)
    claim.metadata.annotations.update(template.metadata.annotations)
    Workload(kinds.POD, pod).own(claim)
    return claim


def _report(tx: Tx, pod: Pod, text: str, now: float) -> None:
    events.record(tx, pod, "FailedCreate", text, source="ephemeral_volume", now=now, warning=True)
