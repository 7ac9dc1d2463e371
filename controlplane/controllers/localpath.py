"""Makes volumes that are directories of a node: for claims of classes whose provisioner is `pinnace.dev/local-path`, once the
scheduler has chosen a node. Root kind: PersistentVolumeClaim.

The node's agent makes the directory when the first pod mounts the volume, and deletes it with its content once the volume is
released. The size of a volume is not enforced.
Source: Rancher's local-path-provisioner, and sig-storage-lib-external-provisioner, also in the words of events.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane import events, volumematching
from controlplane.controllers import volumebinding
from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.resources.persistentvolumeclaim import PROVISIONER
from controlplane.store import Event, Tx
from pinnace import kinds, persistentvolumes
from pinnace.clock import RandomIds
from pinnace.core.v1.persistentvolume_pb2 import PersistentVolume
from pinnace.core.v1.persistentvolumeclaim_pb2 import PersistentVolumeClaim
from pinnace.errors import ApiError
from pinnace.kinds import Kind
from pinnace.persistentvolumes import BLOCK, DELETE, READ_WRITE_ONCE, READ_WRITE_ONCE_POD, STORAGE
from pinnace.storage.v1.storageclass_pb2 import StorageClass
from pinnace.wellknown import (
    ANNOTATION_LOCAL_PATH,
    BOUND_BY_CONTROLLER,
    FINALIZER_PROVISIONER,
    LABEL_HOSTNAME,
    LOCAL_PATH_PROVISIONER,
    PROVISIONED_BY,
    SELECTED_NODE,
    STORAGE_PROVISIONER,
)  # fmt: skip

# Seconds until a claim is tried again that could not be served.
RETRY = 15.0
_MODES = {READ_WRITE_ONCE, READ_WRITE_ONCE_POD}


class _Refused(Exception):
    """Why there is no volume for a claim. `reschedule`: another node may do."""

    def __init__(self, why: str, *, reschedule: bool = False) -> None:
        super().__init__(why)
        self.reschedule = reschedule


class LocalPathProvisioner:
    name = "local-path-provisioner"
    watches: tuple[Kind, ...] = (kinds.PERSISTENT_VOLUME_CLAIM, kinds.NODE)

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        if event.row.kind is kinds.PERSISTENT_VOLUME_CLAIM:
            if event.new is not None and _waits(event.new.message):
                yield event.row.key.removeprefix(kinds.PERSISTENT_VOLUME_CLAIM.prefix)
        elif _directory(event.old) != _directory(event.new):
            for row in view.by_index(kinds.PERSISTENT_VOLUME_CLAIM, PROVISIONER, LOCAL_PATH_PROVISIONER):
                yield row.key.removeprefix(kinds.PERSISTENT_VOLUME_CLAIM.prefix)

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        claim = tx.get(kinds.PERSISTENT_VOLUME_CLAIM, *key.split("/"))
        if claim is None or not _waits(claim):
            return None
        name = f"pvc-{claim.metadata.uid}"
        if tx.get(kinds.PERSISTENT_VOLUME, "", name) is not None:
            # The binder takes it from here.
            return None
        return _Provision(tx, claim, now.wall).run(name)


def _waits(claim: PersistentVolumeClaim) -> bool:
    wanted = claim.metadata.annotations.get(STORAGE_PROVISIONER) == LOCAL_PATH_PROVISIONER
    return wanted and not claim.spec.volumeName and not claim.metadata.deletionTimestamp.seconds


def _directory(row: Any | None) -> str:
    return str(row.message.metadata.annotations.get(ANNOTATION_LOCAL_PATH, "")) if row is not None else ""


class _Provision:
    """One volume for one claim."""

    def __init__(self, tx: Tx, claim: PersistentVolumeClaim, now: float) -> None:
        self._tx = tx
        self._claim = claim
        self._now = now

    def run(self, name: str) -> Requeue | None:
        try:
            volume = self._volume(name)
            volume = verbs.create(
                self._tx, kinds.PERSISTENT_VOLUME, volume, verbs.Call(self._now, RandomIds(), LOCAL_PATH_PROVISIONER)
            )
        except (_Refused, ApiError) as error:
            class_name = persistentvolumes.class_of_claim(self._claim)
            self._event(
                "ProvisioningFailed", f'failed to provision volume with StorageClass "{class_name}": {error}', warning=True
            )
            if isinstance(error, _Refused) and error.reschedule:
                del self._claim.metadata.annotations[SELECTED_NODE]
                self._tx.put(kinds.PERSISTENT_VOLUME_CLAIM, self._claim)
            return Requeue(RETRY)
        self._event("ProvisioningSucceeded", f"Successfully provisioned volume {name}")
        # At once: a pod waits for it.
        volumebinding.bind(self._tx, self._claim, volume, now=self._now)
        return None

    def _event(self, reason: str, text: str, *, warning: bool = False) -> None:
        events.record(self._tx, self._claim, reason, text, source=LOCAL_PATH_PROVISIONER, now=self._now, warning=warning)

    def _volume(self, name: str) -> PersistentVolume:
        """Raises _Refused."""
        found = self._tx.get(kinds.STORAGE_CLASS, "", persistentvolumes.class_of_claim(self._claim))
        if found is None or found.provisioner != LOCAL_PATH_PROVISIONER:
            raise _Refused("the class does not exist or has another provisioner")
        _check(self._claim, found)
        node = self._node()
        volume = PersistentVolume()
        volume.metadata.name = name
        volume.metadata.annotations.update({PROVISIONED_BY: LOCAL_PATH_PROVISIONER, SELECTED_NODE: node.metadata.name})
        spec = volume.spec
        spec.persistentVolumeReclaimPolicy, spec.storageClassName = found.reclaimPolicy, found.metadata.name
        if found.reclaimPolicy == DELETE:
            volume.metadata.finalizers.append(FINALIZER_PROVISIONER)
        spec.accessModes[:] = self._claim.spec.accessModes
        spec.volumeMode = self._claim.spec.volumeMode
        spec.capacity[STORAGE].CopyFrom(self._claim.spec.resources.requests[STORAGE])
        spec.persistentVolumeSource.local.path = f"{node.metadata.annotations[ANNOTATION_LOCAL_PATH]}/{name}"
        term = spec.nodeAffinity.required.nodeSelectorTerms.add()
        term.matchExpressions.add(key=LABEL_HOSTNAME, operator="In", values=[node.metadata.labels[LABEL_HOSTNAME]])
        volumematching.reserve(volume, self._claim)
        # It was made for the claim.
        volume.metadata.annotations.pop(BOUND_BY_CONTROLLER, None)
        return volume

    def _node(self) -> Any:
        """Raises _Refused."""
        name = self._claim.metadata.annotations.get(SELECTED_NODE, "")
        if not name:
            raise _Refused("configuration error, no node was specified")
        node = self._tx.get(kinds.NODE, "", name)
        if node is None:
            raise _Refused(f'node "{name}" not found', reschedule=True)
        if ANNOTATION_LOCAL_PATH not in node.metadata.annotations:
            raise _Refused(f'the agent of node "{name}" has no directory for local volumes', reschedule=True)
        if not node.metadata.labels.get(LABEL_HOSTNAME):
            raise _Refused(f'node "{name}" has no label {LABEL_HOSTNAME}', reschedule=True)
        return node


def _check(claim: PersistentVolumeClaim, found: StorageClass) -> None:
    """Reject claims and classes that a directory of a node cannot serve. Raises _Refused."""
    if set(claim.spec.accessModes) - _MODES:
        raise _Refused("NodePath only supports ReadWriteOnce and ReadWriteOncePod (1.22+) access modes")
    if claim.spec.HasField("selector"):
        raise _Refused("claim.Spec.Selector is not supported")
    if claim.spec.volumeMode == BLOCK:
        raise _Refused("block volume provisioning is not supported")
    if found.parameters:
        raise _Refused(f"the class has parameters, of which there are none: {', '.join(sorted(found.parameters))[:200]}")
    if found.mountOptions:
        raise _Refused("the class has mountOptions, which local volumes do not support")
