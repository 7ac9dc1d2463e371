"""Rejects nodes that cannot have the volumes of the pod's claims: those that are bound, or that could be bound or made there.

Claims of a class that waits for its first consumer get their volumes once the pod has a node: `steps`. All others have to be
bound before.
Source: kube-scheduler's volumebinding plugin, also in the words of its reasons.
"""

from __future__ import annotations

from controlplane.scheduler import arrays as np
from controlplane.scheduler.arrays import Mask
from controlplane.scheduler.clusterevent import ClusterEvent
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.table import NodeTable
from controlplane.scheduler.volumes import VolumeStep, is_bound, reachable, selected_node
from pinnace.core.v1.persistentvolumeclaim_pb2 import PersistentVolumeClaim
from pinnace.persistentvolumes import LOST, PodClaim

UNBOUND = "pod has unbound immediate PersistentVolumeClaims"
CONFLICT = "node(s) had volume node affinity conflict"
NONE_FOUND = "node(s) didn't find available persistent volumes to bind"
MISSING = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"


class VolumeBinding:
    name = "VolumeBinding"
    wide = True
    resolvable = False
    events = ClusterEvent.STORAGE | ClusterEvent.UPDATE_NODE_LABEL

    def prevents(self, pod: PodInfo, table: NodeTable) -> str:
        """Why no node can take the pod, whichever nodes there are; empty: some may."""
        for item in pod.claims:
            claim = table.volumes.claim(pod, item)
            wrong = _absent(item) if claim is None else _wrong(pod, item, claim)
            if wrong:
                return wrong
        waiting = table.volumes.unbound(pod)
        return "" if all(map(table.volumes.waits_for_consumer, waiting)) else UNBOUND

    def rejects(self, pod: PodInfo, table: NodeTable, rows: slice) -> Mask | None:
        rejected: Mask | None = None
        for mask in self.reasons(pod, table, rows).values():
            rejected = mask if rejected is None else rejected | mask
        return rejected

    def reasons(self, pod: PodInfo, table: NodeTable, rows: slice) -> dict[str, Mask]:
        if not pod.claims:
            return {}
        found = {**_bound(pod, table, rows)}
        waiting = table.volumes.unbound(pod)
        if waiting:
            left = np.zeros(len(table.alive[rows]), dtype=np.bool_)
            for _, served in _choices(waiting, table, rows):
                left |= ~served
            found[NONE_FOUND] = left
        return {reason: mask for reason, mask in found.items() if mask.any()}


def _absent(item: PodClaim) -> str:
    if item.ephemeral:
        return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{item.name}"'
    return f'persistentvolumeclaim "{item.name}" not found'


def _wrong(pod: PodInfo, item: PodClaim, claim: PersistentVolumeClaim) -> str:
    if claim.status.phase == LOST:
        return f'persistentvolumeclaim "{item.name}" bound to non-existent persistentvolume "{claim.spec.volumeName}"'
    if claim.metadata.deletionTimestamp.seconds:
        return f'persistentvolumeclaim "{item.name}" is being deleted'
    owned = any(ref.controller and ref.uid == pod.uid for ref in claim.metadata.ownerReferences)
    if item.ephemeral and not owned:
        namespace = claim.metadata.namespace
        return f"PVC {namespace}/{item.name} was not created for pod {pod.key} (pod is not owner)"
    return ""


def _bound(pod: PodInfo, table: NodeTable, rows: slice) -> dict[str, Mask]:
    """Rows that cannot reach the volumes of bound claims."""
    conflict = np.zeros(len(table.alive[rows]), dtype=np.bool_)
    for item in pod.claims:
        claim = table.volumes.claim(pod, item)
        if claim is None or not is_bound(claim):
            continue
        volume = table.volumes.volume(claim.spec.volumeName)
        if volume is None:
            return {MISSING: np.ones(len(conflict), dtype=np.bool_)}
        if (terms := reachable(volume)) is not None:
            conflict |= ~table.labels.matching((), terms)[rows]
    return {CONFLICT: conflict}


def _choices(
    waiting: list[PersistentVolumeClaim], table: NodeTable, rows: slice
) -> list[tuple[PersistentVolumeClaim, Mask]]:  # fmt: skip
    """Each claim with the rows on which there is a volume for it. Of one volume on one row the first claim is served alone."""
    taken: dict[str, Mask] = {}
    found = []
    for claim in waiting:
        found.append((claim, _served(claim, table, rows, taken)))
    return found


def _served(claim: PersistentVolumeClaim, table: NodeTable, rows: slice, taken: dict[str, Mask]) -> Mask:
    served: Mask = np.zeros(len(table.alive[rows]), dtype=np.bool_)
    if node := selected_node(claim):
        # Its volume is being made there.
        row = table.row(node)
        if row >= 0:
            everywhere = np.zeros(len(table.alive), dtype=np.bool_)
            everywhere[row] = True
            served |= everywhere[rows]
        return served
    for volume in table.volumes.candidates(claim):
        terms = reachable(volume)
        free = np.ones(len(served), dtype=np.bool_) if terms is None else table.labels.matching((), terms)[rows].copy()
        free &= ~served
        if (before := taken.get(volume.metadata.name)) is not None:
            free &= ~before
            taken[volume.metadata.name] = before | free
        else:
            taken[volume.metadata.name] = free
        served |= free
    topologies = table.volumes.provisionable(claim)
    if topologies is not None:
        served |= table.labels.matching((), topologies or None)[rows]
    return served


def steps(pod: PodInfo, table: NodeTable, row: int) -> tuple[VolumeStep, ...] | None:
    """What is to be done for the claims of a pod that is placed on a row; None: all of them are bound."""
    if not pod.claims:
        return None
    waiting = table.volumes.unbound(pod)
    if not waiting:
        return None
    here, taken, found = slice(row, row + 1), set[str](), []
    for claim in waiting:
        key = f"{claim.metadata.namespace}/{claim.metadata.name}"
        if selected_node(claim):
            continue
        volumes = (volume for volume in table.volumes.candidates(claim) if volume.metadata.name not in taken)
        chosen = next((volume.metadata.name for volume in volumes if _reaches(reachable(volume), table, here)), "")
        taken.add(chosen)
        found.append(VolumeStep(key, chosen))
    return tuple(found)


def _reaches(terms: object, table: NodeTable, here: slice) -> bool:
    return terms is None or bool(table.labels.matching((), terms)[here][0])  # type: ignore[arg-type]
