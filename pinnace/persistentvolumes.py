"""Claims and volumes as every role reads them: classes, sizes, and the claims of a pod. Pure.

Source: component-helpers' storage/volume and storage/ephemeral.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pinnace import quantity
from pinnace.core.v1.persistentvolume_pb2 import PersistentVolume
from pinnace.core.v1.persistentvolumeclaim_pb2 import PersistentVolumeClaim
from pinnace.wellknown import BETA_STORAGE_CLASS, LOCAL_PATH_PROVISIONER, PROVISIONED_BY

# Access modes, with the letters that tables show.
READ_WRITE_ONCE, READ_ONLY_MANY, READ_WRITE_MANY, READ_WRITE_ONCE_POD = (
    "ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod",
)  # fmt: skip
SHORT_MODES = {READ_WRITE_ONCE: "RWO", READ_ONLY_MANY: "ROX", READ_WRITE_MANY: "RWX", READ_WRITE_ONCE_POD: "RWOP"}
FILESYSTEM, BLOCK = "Filesystem", "Block"
IMMEDIATE, WAIT_FOR_FIRST_CONSUMER = "Immediate", "WaitForFirstConsumer"
RETAIN, DELETE, RECYCLE = "Retain", "Delete", "Recycle"
# Phases.
PENDING, BOUND, LOST = "Pending", "Bound", "Lost"
AVAILABLE, RELEASED, FAILED = "Available", "Released", "Failed"
STORAGE = "storage"


class PodClaim(NamedTuple):
    """A claim of a pod: the volume that mounts it, and whether the claim is made for the pod alone."""

    volume: str
    name: str
    ephemeral: bool
    read_only: bool


def claims_of(pod: Any) -> Iterator[PodClaim]:
    """The claims of a pod, in the order of its volumes."""
    for volume in pod.spec.volumes:
        source = volume.volumeSource
        if source.HasField("persistentVolumeClaim"):
            claim = source.persistentVolumeClaim
            yield PodClaim(volume.name, claim.claimName, ephemeral=False, read_only=claim.readOnly)
        elif source.HasField("ephemeral"):
            yield PodClaim(volume.name, f"{pod.metadata.name}-{volume.name}", ephemeral=True, read_only=False)


def class_of_claim(claim: PersistentVolumeClaim) -> str:
    """Empty for a claim without a class."""
    return claim.metadata.annotations.get(BETA_STORAGE_CLASS) or claim.spec.storageClassName


def names_class(claim: PersistentVolumeClaim) -> bool:
    """Whether a claim names its class; an empty name stands for none."""
    return BETA_STORAGE_CLASS in claim.metadata.annotations or claim.spec.HasField("storageClassName")


def class_of_volume(volume: PersistentVolume) -> str:
    return volume.metadata.annotations.get(BETA_STORAGE_CLASS) or volume.spec.storageClassName


def capacity(volume: PersistentVolume) -> int:
    """Bytes."""
    return size(volume.spec.capacity)


def request(claim: PersistentVolumeClaim) -> int:
    """The bytes that a claim requests."""
    return size(claim.spec.resources.requests)


def size(amounts: Mapping[str, Any]) -> int:
    """The bytes of storage among some amounts; 0 without, and for what is no quantity."""
    try:
        return quantity.units(amounts[STORAGE].string) if STORAGE in amounts else 0
    except ValueError:
        return 0


def is_owned_by(claim: PersistentVolumeClaim, pod: Any) -> bool:
    """Whether a claim was made for this pod."""
    return any(ref.controller and ref.uid == pod.metadata.uid for ref in claim.metadata.ownerReferences)


def is_local_path(volume: PersistentVolume) -> bool:
    """Whether the volume is a directory that Pinnace has made on a node."""
    return volume.metadata.annotations.get(
        PROVISIONED_BY
    ) == LOCAL_PATH_PROVISIONER and volume.spec.persistentVolumeSource.HasField("local")
