"""The phase of a volume, and its release once its claim is gone.

Data of local volumes is deleted by the node that has it (`controlplane.dispatcher`), that of others by the component that
made them.
Source: kube-controller-manager's pv_controller.go (syncVolume, reclaimVolume).
"""

from __future__ import annotations

from controlplane import events
from controlplane.controllers import volumebinding
from controlplane.controllers.volumebinding import SOURCE
from controlplane.store import Tx
from pinnace import kinds
from pinnace.core.v1.persistentvolume_pb2 import PersistentVolume
from pinnace.persistentvolumes import AVAILABLE, BOUND, DELETE, FAILED, RELEASED
from pinnace.wellknown import PROVISIONED_BY


class VolumeRound:
    """One reconciliation of one volume."""

    def __init__(self, tx: Tx, volume: PersistentVolume, now: float) -> None:
        self._tx = tx
        self._volume = volume
        self._now = now

    def run(self) -> None:
        ref = self._volume.spec.claimRef
        if not ref.uid:
            # Free, or reserved for a claim that is not bound yet.
            self._set(AVAILABLE)
            return
        claim = self._tx.get(kinds.PERSISTENT_VOLUME_CLAIM, ref.namespace, ref.name)
        if claim is None or claim.metadata.uid != ref.uid:
            self._release()
        elif claim.spec.volumeName == self._volume.metadata.name:
            self._set(BOUND)
        elif claim.spec.volumeName:
            self._bound_elsewhere()
        # Else the claim binds to it, which is a reconciliation of its own.

    def _set(self, phase: str, message: str = "") -> None:
        if volumebinding.set_volume_phase(self._volume, phase, now=self._now, message=message):
            self._tx.put(kinds.PERSISTENT_VOLUME, self._volume)

    def _bound_elsewhere(self) -> None:
        made = PROVISIONED_BY in self._volume.metadata.annotations
        if made and self._volume.spec.persistentVolumeReclaimPolicy == DELETE:
            self._release()
        else:
            volumebinding.unbind(self._tx, self._volume, now=self._now)

    def _release(self) -> None:
        """A failed volume stays Failed, for administrators to see."""
        if self._volume.status.phase not in (RELEASED, FAILED):
            self._set(RELEASED)
        made = PROVISIONED_BY in self._volume.metadata.annotations
        if self._volume.spec.persistentVolumeReclaimPolicy == DELETE and not made:
            self._fail()

    def _fail(self) -> None:
        """Nothing deletes the data of a volume that an administrator made."""
        name = self._volume.metadata.name
        text = f'error getting deleter volume plugin for volume "{name}": no deletable volume plugin matched'
        if self._volume.status.phase != FAILED:
            self._set(FAILED, text)
            events.record(self._tx, self._volume, "VolumeFailedDelete", text, source=SOURCE, now=self._now, warning=True)
