"""Which volume a claim gets: for the binder, and for the scheduler, which chooses among those that a node can reach.

Pure, but that `reserve` changes the volume.
Source: component-helpers' storage/volume (pv_helpers.go), and kube-controller-manager's checkVolumeSatisfyClaim.
"""

from __future__ import annotations

from collections.abc import Iterable

from pinnace import kinds, labelselectors, persistentvolumes
from pinnace.core.v1.persistentvolume_pb2 import PersistentVolume
from pinnace.core.v1.persistentvolumeclaim_pb2 import PersistentVolumeClaim
from pinnace.persistentvolumes import capacity, class_of_claim, class_of_volume, request
from pinnace.wellknown import BOUND_BY_CONTROLLER

# Value of annotations that are there or not.
YES = "yes"


def claims(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Whether a volume is reserved for this claim, or bound to it."""
    ref, meta = volume.spec.claimRef, claim.metadata
    return (ref.namespace, ref.name) == (meta.namespace, meta.name) and ref.uid in ("", meta.uid)


def mismatch(volume: PersistentVolume, claim: PersistentVolumeClaim) -> str:
    """Why a volume that a claim names is not fit for it; empty when it is."""
    if request(claim) > capacity(volume):
        return "requested PV is too small"
    if class_of_volume(volume) != class_of_claim(claim):
        return "storageClassName does not match"
    if volume.spec.volumeMode != claim.spec.volumeMode:
        return "incompatible volumeMode"
    return "" if _has_modes(volume, claim) else "incompatible accessMode"


def _has_modes(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    return set(claim.spec.accessModes) <= set(volume.spec.accessModes)


def is_free_for(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Whether nothing has the volume, and the claim may."""
    if volume.spec.HasField("claimRef") or volume.metadata.deletionTimestamp.seconds or mismatch(volume, claim):
        return False
    return not claim.spec.HasField("selector") or labelselectors.matches(claim.spec.selector, volume.metadata.labels)


def is_reserved_for(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Whether the volume was made for this claim, or an administrator has reserved it; class and labels do not count then."""
    fits = request(claim) <= capacity(volume) and volume.spec.volumeMode == claim.spec.volumeMode and _has_modes(volume, claim)
    return claims(volume, claim) and fits and not volume.metadata.deletionTimestamp.seconds


def order(volume: PersistentVolume) -> tuple[int, int, str]:
    """Sorts volumes that fit by preference."""
    return len(set(volume.spec.accessModes)), persistentvolumes.capacity(volume), volume.metadata.name


def best(claim: PersistentVolumeClaim, volumes: Iterable[PersistentVolume]) -> PersistentVolume | None:
    """A volume that is reserved for the claim; else of the free ones that with the fewest access modes, and the smallest of
    these."""
    free = []
    for volume in volumes:
        if is_reserved_for(volume, claim):
            return volume
        if is_free_for(volume, claim):
            free.append(volume)
    return min(free, key=order, default=None)


def reserve(volume: PersistentVolume, claim: PersistentVolumeClaim) -> None:
    """Have the volume refer to the claim; that an administrator reserved it stays visible."""
    ref, meta = volume.spec.claimRef, claim.metadata
    if not claims(volume, claim):
        volume.metadata.annotations[BOUND_BY_CONTROLLER] = YES
    if (ref.namespace, ref.name, ref.uid) != (meta.namespace, meta.name, meta.uid):
        ref.Clear()
        ref.kind, ref.apiVersion = kinds.PERSISTENT_VOLUME_CLAIM.kind, kinds.PERSISTENT_VOLUME_CLAIM.api_version
        ref.namespace, ref.name, ref.uid, ref.resourceVersion = meta.namespace, meta.name, meta.uid, meta.resourceVersion
