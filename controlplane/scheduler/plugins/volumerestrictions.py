"""Rejects nodes for a pod whose ReadWriteOncePod claim another pod uses.

Source: kube-scheduler's volumerestrictions plugin.
"""

from __future__ import annotations

from controlplane.scheduler import arrays as np
from controlplane.scheduler.arrays import Mask
from controlplane.scheduler.clusterevent import ClusterEvent
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import NodeTable
from controlplane.scheduler.volumes import claim_key
from pinnace.persistentvolumes import READ_WRITE_ONCE_POD

REASON = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"


class VolumeRestrictions:
    name = "VolumeRestrictions"
    wide = True
    resolvable = True
    events = ClusterEvent.ASSIGNED_POD_DELETE | ClusterEvent.STORAGE

    def rejects(self, pod: PodInfo, table: NodeTable, rows: slice) -> Mask | None:
        for item in pod.claims:
            claim = table.volumes.claim(pod, item)
            exclusive = claim is not None and READ_WRITE_ONCE_POD in claim.spec.accessModes
            if exclusive and table.users(claim_key(pod, item)) - {pod.key}:
                return np.ones(len(table.alive[rows]), dtype=np.bool_)
        return None

    def reasons(self, pod: PodInfo, table: NodeTable, rows: slice) -> dict[str, Mask]:
        rejected = self.rejects(pod, table, rows)
        return {} if rejected is None else {REASON: rejected}
