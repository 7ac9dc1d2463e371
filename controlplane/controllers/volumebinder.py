"""Binds claims to volumes, and releases volumes whose claims are gone. Root kinds: PersistentVolumeClaim and
PersistentVolume, by keys `claims/NAMESPACE/NAME` and `volumes/NAME`.

A claim of a class that waits for its first consumer is left to the scheduler, which chooses a node: it reserves a volume
(`claimRef`) or names the node to the provisioner.
Source: kube-controller-manager's pv_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane import events, volumematching
from controlplane.controllers import volumebinding
from controlplane.controllers.runner import Moment, Requeue
from controlplane.controllers.volumebinding import SOURCE
from controlplane.controllers.volumereclaim import VolumeRound
from controlplane.resources.persistentvolume import CLAIM, FREE
from controlplane.resources.persistentvolumeclaim import UNBOUND, VOLUME
from controlplane.resources.pod import CLAIM as POD_CLAIM
from controlplane.resources.storageclass import default_class
from controlplane.store import Event, Tx
from pinnace import kinds, persistentvolumes
from pinnace.core.v1.persistentvolume_pb2 import PersistentVolume
from pinnace.core.v1.persistentvolumeclaim_pb2 import PersistentVolumeClaim
from pinnace.kinds import Kind
from pinnace.persistentvolumes import LOST, PENDING, WAIT_FOR_FIRST_CONSUMER
from pinnace.storage.v1.storageclass_pb2 import StorageClass
from pinnace.wellknown import (
    BETA_STORAGE_PROVISIONER,
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    NO_PROVISIONER,
    SELECTED_NODE,
    STORAGE_PROVISIONER,
)  # fmt: skip

_CLAIMS, _VOLUMES = "claims/", "volumes/"
_FINISHED = ("Succeeded", "Failed")
_EXTERNAL = (
    "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system administrator. "
    "If volume creation is delayed, please verify that the provisioner is running and correctly registered."
)


class PersistentVolumeBinder:
    name = "persistentvolume-binder"
    watches: tuple[Kind, ...] = (kinds.PERSISTENT_VOLUME, kinds.PERSISTENT_VOLUME_CLAIM, kinds.STORAGE_CLASS)

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        kind, key = event.row.kind, event.row.key
        if kind is kinds.PERSISTENT_VOLUME_CLAIM:
            yield from _of_claim(key.removeprefix(kind.prefix), event, view)
        elif kind is kinds.PERSISTENT_VOLUME:
            yield from _of_volume(key.removeprefix(kind.prefix), event, view)
        elif event.new is not None:
            # Claims without a class may get it as the default one.
            for name in ("", key.removeprefix(kind.prefix)):
                yield from _unbound(view, name)

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        if key.startswith(_CLAIMS):
            claim = tx.get(kinds.PERSISTENT_VOLUME_CLAIM, *key.removeprefix(_CLAIMS).split("/"))
            if claim is not None:
                _ClaimRound(tx, claim, now.wall).run()
            return None
        volume = tx.get(kinds.PERSISTENT_VOLUME, "", key.removeprefix(_VOLUMES))
        if volume is not None:
            VolumeRound(tx, volume, now.wall).run()
        return None


def _of_claim(name: str, event: Event, view: Tx) -> Iterable[str]:
    yield _CLAIMS + name
    for row in view.by_index(kinds.PERSISTENT_VOLUME, CLAIM, name):
        yield _VOLUMES + row.message.metadata.name
    for state in (event.old, event.new):
        if state is not None and state.message.spec.volumeName:
            yield _VOLUMES + state.message.spec.volumeName


def _of_volume(name: str, event: Event, view: Tx) -> Iterable[str]:
    yield _VOLUMES + name
    for row in (event.old, event.new):
        if row is not None and row.message.spec.HasField("claimRef"):
            ref = row.message.spec.claimRef
            yield f"{_CLAIMS}{ref.namespace}/{ref.name}"
    for row in view.by_index(kinds.PERSISTENT_VOLUME_CLAIM, VOLUME, name):
        yield _CLAIMS + row.key.removeprefix(kinds.PERSISTENT_VOLUME_CLAIM.prefix)
    if event.new is not None and not event.new.message.spec.HasField("claimRef"):
        yield from _unbound(view, persistentvolumes.class_of_volume(event.new.message))


def _unbound(view: Tx, class_name: str) -> Iterable[str]:
    for row in view.by_index(kinds.PERSISTENT_VOLUME_CLAIM, UNBOUND, class_name):
        yield _CLAIMS + row.key.removeprefix(kinds.PERSISTENT_VOLUME_CLAIM.prefix)


class _ClaimRound:
    """One reconciliation of one claim."""

    def __init__(self, tx: Tx, claim: PersistentVolumeClaim, now: float) -> None:
        self._tx = tx
        self._claim = claim
        self._now = now
        self._class: StorageClass | None = None

    def run(self) -> None:
        if BIND_COMPLETED in self._claim.metadata.annotations:
            self._sync_bound()
        elif self._claim.metadata.deletionTimestamp.seconds:
            return
        elif self._claim.spec.volumeName:
            self._sync_named()
        else:
            self._sync_unbound()

    def _event(self, reason: str, text: str, *, warning: bool = False) -> None:
        events.record(self._tx, self._claim, reason, text, source=SOURCE, now=self._now, warning=warning)

    def _sync_bound(self) -> None:
        """A bound claim stays so, or is lost for good."""
        name = self._claim.spec.volumeName
        volume = self._tx.get(kinds.PERSISTENT_VOLUME, "", name) if name else None
        if not name:
            self._lose("ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
        elif volume is None:
            self._lose("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
        elif not volume.spec.HasField("claimRef") or volume.spec.claimRef.uid == self._claim.metadata.uid:
            volumebinding.bind(self._tx, self._claim, volume, now=self._now)
        else:
            self._lose("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")

    def _lose(self, reason: str, text: str) -> None:
        if self._claim.status.phase == LOST:
            return
        volumebinding.set_claim_phase(self._claim, LOST)
        self._tx.put(kinds.PERSISTENT_VOLUME_CLAIM, self._claim)
        self._event(reason, text, warning=True)

    def _sync_named(self) -> None:
        """A claim for one certain volume."""
        claim, name = self._claim, self._claim.spec.volumeName
        volume = self._tx.get(kinds.PERSISTENT_VOLUME, "", name)
        if volume is None:
            self._pend()
        elif not volume.spec.HasField("claimRef"):
            wrong = volumematching.mismatch(volume, claim)
            if not wrong:
                volumebinding.bind(self._tx, claim, volume, now=self._now)
                return
            self._event("VolumeMismatch", f'Cannot bind to requested volume "{name}": {wrong}', warning=True)
            self._pend()
        elif volumematching.claims(volume, claim):
            volumebinding.bind(self._tx, claim, volume, now=self._now)
        else:
            if BOUND_BY_CONTROLLER not in claim.metadata.annotations:
                self._event("FailedBinding", f'volume "{name}" already bound to a different claim.')
            self._pend()

    def _sync_unbound(self) -> None:
        name = persistentvolumes.class_of_claim(self._claim)
        self._class = self._tx.get(kinds.STORAGE_CLASS, "", name) if name else None
        delayed = self._class is not None and self._class.volumeBindingMode == WAIT_FOR_FIRST_CONSUMER
        volume = self._match(reserved_only=delayed)
        if volume is not None:
            volumebinding.bind(self._tx, self._claim, volume, now=self._now)
        elif not persistentvolumes.names_class(self._claim) and (default := default_class(self._tx)):
            self._claim.spec.storageClassName = default
            self._tx.put(kinds.PERSISTENT_VOLUME_CLAIM, self._claim)
        elif delayed and SELECTED_NODE not in self._claim.metadata.annotations:
            self._event(*self._waits_for())
            self._pend()
        elif name:
            self._provision(name)
        else:
            text = "no persistent volumes available for this claim and no storage class is set"
            self._event("FailedBinding", text)
            self._pend()

    def _match(self, *, reserved_only: bool) -> PersistentVolume | None:
        """The candidates are read outside of the read set; the one that is chosen is read, and so compared, again."""
        claim = self._claim
        key = f"{claim.metadata.namespace}/{claim.metadata.name}"
        rows = list(self._tx.by_index(kinds.PERSISTENT_VOLUME, CLAIM, key))
        if not reserved_only:
            rows += self._tx.by_index(kinds.PERSISTENT_VOLUME, FREE, persistentvolumes.class_of_claim(claim))
        found = volumematching.best(claim, (row.message for row in rows))
        volume = self._tx.get(kinds.PERSISTENT_VOLUME, "", found.metadata.name) if found is not None else None
        return volume if volume is not None and volumematching.best(claim, [volume]) is not None else None

    def _waits_for(self) -> tuple[str, str]:
        """Reason and text of the event of a claim that no node is chosen for."""
        meta = self._claim.metadata
        pods = [row.message for row in self._tx.by_index(kinds.POD, POD_CLAIM, f"{meta.namespace}/{meta.name}")]
        waiting = sorted(pod.metadata.name for pod in pods if not pod.spec.nodeName and pod.status.phase not in _FINISHED)
        if waiting:
            return "WaitForPodScheduled", f"waiting for pod {','.join(waiting)} to be scheduled"
        return "WaitForFirstConsumer", "waiting for first consumer to be created before binding"

    def _provision(self, name: str) -> None:
        """Leave the claim to the provisioner of its class."""
        if self._class is None:
            self._event("ProvisioningFailed", f'storageclass.storage.k8s.io "{name}" not found', warning=True)
        elif self._class.provisioner == NO_PROVISIONER:
            self._event("ProvisioningFailed", f"no volume plugin matched name: {NO_PROVISIONER}", warning=True)
        else:
            wanted = self._class.provisioner
            annotations = self._claim.metadata.annotations
            if annotations.get(STORAGE_PROVISIONER) != wanted:
                annotations[STORAGE_PROVISIONER] = annotations[BETA_STORAGE_PROVISIONER] = wanted
                self._event("ExternalProvisioning", _EXTERNAL.format(wanted))
                self._tx.put(kinds.PERSISTENT_VOLUME_CLAIM, self._claim)
                return
        self._pend()

    def _pend(self) -> None:
        if volumebinding.set_claim_phase(self._claim, PENDING):
            self._tx.put(kinds.PERSISTENT_VOLUME_CLAIM, self._claim)
