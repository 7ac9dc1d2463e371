"""Expands volumes whose claims request more. Root kind: PersistentVolumeClaim.

A local volume that Pinnace has made is as large as its disk, so that its new size is a number to record. Volumes of other
provisioners are theirs to expand.
Source: kube-controller-manager's expand controller, and sig-storage's external-resizer.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane import events
from controlplane.controllers.runner import Moment, Requeue
from controlplane.store import Event, Tx
from pinnace import kinds, persistentvolumes
from pinnace.core.v1.persistentvolumeclaim_pb2 import PersistentVolumeClaim
from pinnace.kinds import Kind
from pinnace.persistentvolumes import BOUND, STORAGE

_WAITING = "waiting for an external controller to expand this PVC"


class PersistentVolumeExpander:
    name = "persistentvolume-expander"
    watches: tuple[Kind, ...] = (kinds.PERSISTENT_VOLUME_CLAIM,)

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        if event.new is not None and _wants_more(event.new.message):
            yield event.row.key.removeprefix(kinds.PERSISTENT_VOLUME_CLAIM.prefix)

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        claim = tx.get(kinds.PERSISTENT_VOLUME_CLAIM, *key.split("/"))
        if claim is None or not _wants_more(claim):
            return None
        volume = tx.get(kinds.PERSISTENT_VOLUME, "", claim.spec.volumeName)
        if volume is None or volume.spec.claimRef.uid != claim.metadata.uid:
            return None
        if not persistentvolumes.is_local_path(volume):
            events.record(tx, claim, "ExternalExpanding", _WAITING, source="volume_expand", now=now.wall)
            return None
        wanted = claim.spec.resources.requests[STORAGE]
        if persistentvolumes.request(claim) > persistentvolumes.capacity(volume):
            volume.spec.capacity[STORAGE].CopyFrom(wanted)
            tx.put(kinds.PERSISTENT_VOLUME, volume)
        claim.status.capacity[STORAGE].CopyFrom(volume.spec.capacity[STORAGE])
        tx.put(kinds.PERSISTENT_VOLUME_CLAIM, claim)
        events.record(tx, claim, "VolumeResizeSuccessful", "Resize volume succeeded", source="volume_expand", now=now.wall)
        return None


def _wants_more(claim: PersistentVolumeClaim) -> bool:
    bound = claim.status.phase == BOUND and not claim.metadata.deletionTimestamp.seconds
    return bound and persistentvolumes.request(claim) > persistentvolumes.size(claim.status.capacity)
