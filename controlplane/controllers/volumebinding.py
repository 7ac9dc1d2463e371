"""Writes of the binder: a claim and its volume are bound in one transaction, and each has one phase.

Every function changes objects that the caller has read in the transaction, so that no claim and no volume is ever bound twice.
Source: kube-controller-manager's pv_controller.go.
"""

from __future__ import annotations

from controlplane import volumematching
from controlplane.store import Tx
from pinnace import codec, kinds
from pinnace.core.v1.persistentvolume_pb2 import PersistentVolume
from pinnace.core.v1.persistentvolumeclaim_pb2 import PersistentVolumeClaim
from pinnace.messages import clone
from pinnace.persistentvolumes import AVAILABLE, BOUND, STORAGE
from pinnace.wellknown import BIND_COMPLETED, BOUND_BY_CONTROLLER

SOURCE = "persistentvolume-controller"


def bind(tx: Tx, claim: PersistentVolumeClaim, volume: PersistentVolume, *, now: float) -> None:
    """Bind both, or complete what is bound already."""
    before = clone(volume), clone(claim)
    volumematching.reserve(volume, claim)
    set_volume_phase(volume, BOUND, now=now)
    if claim.spec.volumeName != volume.metadata.name:
        claim.spec.volumeName = volume.metadata.name
        claim.metadata.annotations[BOUND_BY_CONTROLLER] = volumematching.YES
    claim.metadata.annotations[BIND_COMPLETED] = volumematching.YES
    set_claim_phase(claim, BOUND, volume)
    if volume != before[0]:
        tx.put(kinds.PERSISTENT_VOLUME, volume)
    if claim != before[1]:
        tx.put(kinds.PERSISTENT_VOLUME_CLAIM, claim)


def unbind(tx: Tx, volume: PersistentVolume, *, now: float) -> None:
    """Free a volume whose claim is bound elsewhere; one that an administrator reserved stays reserved."""
    if BOUND_BY_CONTROLLER in volume.metadata.annotations:
        del volume.metadata.annotations[BOUND_BY_CONTROLLER]
        volume.spec.ClearField("claimRef")
    else:
        volume.spec.claimRef.uid = ""
    set_volume_phase(volume, AVAILABLE, now=now)
    tx.put(kinds.PERSISTENT_VOLUME, volume)


def set_volume_phase(volume: PersistentVolume, phase: str, *, now: float, message: str = "") -> bool:
    """Returns whether it changed."""
    status = volume.status
    if status.phase == phase:
        return False
    status.phase, status.message = phase, message
    status.lastPhaseTransitionTime.CopyFrom(codec.time_of(now))
    return True


def set_claim_phase(claim: PersistentVolumeClaim, phase: str, volume: PersistentVolume | None = None) -> bool:
    """With what the claim has of its volume; returns whether anything changed."""
    before = clone(claim.status)
    status = claim.status
    if volume is None:
        status.ClearField("accessModes")
        status.ClearField("capacity")
    else:
        status.accessModes[:] = volume.spec.accessModes
        # Later it follows the expansion of the volume.
        if status.phase != phase or STORAGE not in status.capacity:
            status.capacity.clear()
            status.capacity[STORAGE].CopyFrom(volume.spec.capacity[STORAGE])
    status.phase = phase
    return before != status
