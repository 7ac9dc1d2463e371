"""PersistentVolumeClaims: their table, admission, and what quotas count of them.

Source: registry/core/persistentvolumeclaim; the admission plugins StorageObjectInUseProtection and PersistentVolumeClaimResize;
and kube-controller-manager's quota evaluator of claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controlplane.resources.columns import AGE, NAME, Cell, Column, Columns, age, wide
from controlplane.resources.persistentvolume import UNSET, modes_text
from controlplane.resources.plugin import CREATE, UPDATE, Attributes, BasePlugin
from controlplane.resources.resource import Resource, Strategy, Usage
from controlplane.store import Tx
from pinnace import kinds, persistentvolumes
from pinnace.admission import claims
from pinnace.core.v1.persistentvolumeclaim_pb2 import PersistentVolumeClaim
from pinnace.errors import Forbidden
from pinnace.persistentvolumes import BOUND, PENDING, STORAGE
from pinnace.wellknown import FINALIZER_CLAIM_PROTECTION, FINALIZER_VOLUME_PROTECTION, STORAGE_PROVISIONER

# Indexes: the class, of claims that are not bound; the volume that a claim names; the provisioner, of claims that wait for it.
UNBOUND, VOLUME, PROVISIONER = "unboundOfClass", "spec.volumeName", "waitsForProvisioner"
_COUNT, _REQUESTS = "persistentvolumeclaims", "requests.storage"
_FIXED_SIZE = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
_OF_CLASS = ".storageclass.storage.k8s.io/"


class _Strategy(Strategy[PersistentVolumeClaim]):
    def prepare_for_create(self, new: PersistentVolumeClaim) -> None:
        new.status.phase = PENDING

    quota_resources = frozenset({_COUNT, _REQUESTS})
    updates_use_quota = True

    def counts_for(self, name: str) -> bool:
        """Also the bounds of each class: CLASS.storageclass.storage.k8s.io/requests.storage."""
        return name in self.quota_resources or name.partition(_OF_CLASS)[2] in self.quota_resources

    def quota_usage(self, item: PersistentVolumeClaim, now: float) -> Usage:
        allocated = persistentvolumes.size(item.status.allocatedResources)
        found = {_COUNT: 1, _REQUESTS: max(persistentvolumes.request(item), allocated)}
        own = persistentvolumes.class_of_claim(item)
        return {**found, **({f"{own}{_OF_CLASS}{name}": amount for name, amount in found.items()} if own else {})}


def _unbound(item: PersistentVolumeClaim) -> Sequence[str]:
    return (persistentvolumes.class_of_claim(item),) if item.status.phase in ("", PENDING) else ()


def _volume(item: PersistentVolumeClaim) -> Sequence[str]:
    return (item.spec.volumeName,) if item.spec.volumeName else ()


def _provisioner(item: PersistentVolumeClaim) -> Sequence[str]:
    name = item.metadata.annotations.get(STORAGE_PROVISIONER, "")
    return (name,) if name and not item.spec.volumeName else ()


def _cells(item: PersistentVolumeClaim, now: float) -> tuple[Cell, ...]:
    phase = "Terminating" if item.metadata.deletionTimestamp.seconds else item.status.phase
    capacity, bound = item.status.capacity, bool(item.spec.volumeName)
    return (
        item.metadata.name, phase, item.spec.volumeName, capacity[STORAGE].string if bound and STORAGE in capacity else "",
        modes_text(item.status.accessModes) if bound else "", persistentvolumes.class_of_claim(item),
        item.spec.volumeAttributesClassName or UNSET, age(item, now), item.spec.volumeMode or UNSET,
    )  # fmt: skip


_COLUMNS = (
    NAME,
    Column("Status", description="Whether the claim is bound to a volume."),
    Column("Volume", description="The volume that the claim is bound to."),
    Column("Capacity", description="Size of the volume."),
    Column("Access Modes", description="How the volume can be shared."),
    Column("StorageClass", description="Storage class of the claim."),
    Column("VolumeAttributesClass", description="Class of the volume's attributes."),
    AGE,
    wide("VolumeMode", "Filesystem or Block."),
)
PERSISTENT_VOLUME_CLAIM = Resource(
    kinds.PERSISTENT_VOLUME_CLAIM,
    rules=claims.RULES,
    strategy=_Strategy(),
    returns_deleted=True,
    own_indexes={UNBOUND: _unbound, VOLUME: _volume, PROVISIONER: _provisioner},
    columns=Columns(_COLUMNS, _cells),
)


class StorageObjectInUseProtection(BasePlugin):
    """New claims and volumes have a finalizer, which a controller removes once nothing uses them."""

    name = "StorageObjectInUseProtection"
    _finalizers = {
        kinds.PERSISTENT_VOLUME: FINALIZER_VOLUME_PROTECTION, kinds.PERSISTENT_VOLUME_CLAIM: FINALIZER_CLAIM_PROTECTION,
    }  # fmt: skip

    def admit(self, tx: Tx, request: Attributes) -> None:
        finalizer = self._finalizers.get(request.resource.kind)
        if finalizer is None or request.operation != CREATE:
            return
        finalizers = request.message.metadata.finalizers
        if finalizer not in finalizers:
            finalizers.append(finalizer)


class PersistentVolumeClaimResize(BasePlugin):
    """The size of a claim grows only where its class allows it."""

    name = "PersistentVolumeClaimResize"

    def validate(self, tx: Tx, request: Attributes) -> None:
        """Raises Forbidden."""
        if request.resource.kind is not kinds.PERSISTENT_VOLUME_CLAIM or request.operation != UPDATE:
            return
        new, old = request.message, request.old
        if request.subresource or old is None or persistentvolumes.request(new) <= persistentvolumes.request(old):
            return
        if old.status.phase != BOUND:
            raise _refused(new, "Only bound persistent volume claims can be expanded")
        name = persistentvolumes.class_of_claim(old)
        found = tx.get(kinds.STORAGE_CLASS, "", name) if name else None
        if found is None or not found.allowVolumeExpansion:
            raise _refused(new, _FIXED_SIZE)


def _refused(item: Any, why: str) -> Forbidden:
    name = item.metadata.name[:253]
    text = f'persistentvolumeclaims "{name}" is forbidden: {why}'
    return Forbidden(text, kind=kinds.PERSISTENT_VOLUME_CLAIM.resource, name=name)
