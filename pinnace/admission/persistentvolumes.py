"""PersistentVolumes: sources, sizes, and what does not change.

Source: core/v1's ValidatePersistentVolume and ValidatePersistentVolumeUpdate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, formats, nodeselectors
from pinnace.admission import claims, meta
from pinnace.admission.kindrules import KindRules
from pinnace.core.v1.persistentvolume_pb2 import PersistentVolume
from pinnace.equality import same
from pinnace.errors import Cause
from pinnace.persistentvolumes import BLOCK, DELETE, RECYCLE, RETAIN, STORAGE

POLICIES = (DELETE, RETAIN)
_NO_RECYCLE = 'Pinnace does not support "Recycle", which Kubernetes has deprecated (supported: "Delete", "Retain")'
_AFFINITY = "field is immutable, except for updating from beta label to GA"


def validate(item: PersistentVolume) -> list[Cause]:
    spec = item.spec
    errors = [] if spec.accessModes else [fielderrors.required("spec.accessModes")]
    errors += claims.access_modes("spec.accessModes", spec.accessModes)
    errors += [*_capacity(spec), *_policy(spec), *_sources(spec), *_affinity(spec)]
    errors += claims.class_name("spec.storageClassName", spec.storageClassName)
    errors += claims.volume_mode("spec.volumeMode", spec)
    if spec.HasField("claimRef") and not (spec.claimRef.name and spec.claimRef.namespace):
        errors.append(fielderrors.required("spec.claimRef", "name and namespace of the claim"))
    return errors


def _capacity(spec: Any) -> Iterator[Cause]:
    if not spec.capacity:
        yield fielderrors.required("spec.capacity")
        return
    if set(spec.capacity) != {STORAGE}:
        yield fielderrors.not_supported("spec.capacity", sorted(spec.capacity), (STORAGE,))
    for name, amount in spec.capacity.items():
        yield from claims.positive(f"spec.capacity[{name[: formats.MAX_SUBDOMAIN]}]", amount.string)


def _policy(spec: Any) -> Iterator[Cause]:
    policy = spec.persistentVolumeReclaimPolicy
    if policy == RECYCLE:
        yield Cause("spec.persistentVolumeReclaimPolicy", _NO_RECYCLE, "FieldValueNotSupported")
    elif policy not in POLICIES:
        yield fielderrors.not_supported("spec.persistentVolumeReclaimPolicy", policy, POLICIES)


def _sources(spec: Any) -> Iterator[Cause]:
    source = spec.persistentVolumeSource
    names = [field.name for field, _ in source.ListFields()]
    if not names:
        yield fielderrors.required("spec", "must specify a volume type")
    for name in names[1:]:
        yield fielderrors.forbidden(f"spec.{name}", "may not specify more than 1 volume type")
    if source.HasField("local"):
        yield from _local(spec)
    if source.HasField("nfs"):
        yield from nfs("spec.nfs", source.nfs)
    elif spec.mountOptions:
        yield fielderrors.forbidden("spec.mountOptions", "may not specify mount options for this volume type")
    if spec.volumeMode == BLOCK and not source.HasField("local"):
        text = 'only volumes of type local may have volumeMode "Block"'
        yield fielderrors.forbidden("spec.volumeMode", text)


def _local(spec: Any) -> Iterator[Cause]:
    path = spec.persistentVolumeSource.local.path
    if not path:
        yield fielderrors.required("spec.local.path")
    yield from meta.each("spec.local.path", path, formats.no_backsteps)
    if not spec.HasField("nodeAffinity"):
        yield fielderrors.required("spec.nodeAffinity", "Local volume requires node affinity")


def nfs(path: str, source: Any) -> Iterator[Cause]:
    """Errors of an NFS source, of pods and volumes. Source: validateNFSVolumeSource."""
    if not source.server:
        yield fielderrors.required(f"{path}.server")
    if not source.path:
        yield fielderrors.required(f"{path}.path")
    elif not source.path.startswith("/"):
        yield fielderrors.invalid(f"{path}.path", source.path, "must be an absolute path")
    if any(character in source.server + source.path for character in ",\0\n"):
        yield fielderrors.invalid(path, {"server": source.server, "path": source.path}, "must not contain commas or newlines")


def _affinity(spec: Any) -> Iterator[Cause]:
    if not spec.HasField("nodeAffinity"):
        return
    if not spec.nodeAffinity.HasField("required"):
        yield fielderrors.required("spec.nodeAffinity.required", "must specify required node constraints")
        return
    yield from nodeselectors.validate(spec.nodeAffinity.required, "spec.nodeAffinity.required")


def validate_update(old: PersistentVolume, new: PersistentVolume) -> list[Cause]:
    errors = []
    if not same(old.spec.persistentVolumeSource, new.spec.persistentVolumeSource):
        text = "spec.persistentvolumesource is immutable after creation"
        errors.append(fielderrors.forbidden("spec.persistentvolumesource", text))
    if old.spec.volumeMode != new.spec.volumeMode:
        errors.append(fielderrors.invalid("spec.volumeMode", new.spec.volumeMode, "field is immutable"))
    if old.spec.HasField("nodeAffinity") and not same(old.spec.nodeAffinity, new.spec.nodeAffinity):
        errors.append(fielderrors.invalid("spec.nodeAffinity", {}, _AFFINITY))
    return errors


RULES: KindRules[PersistentVolume] = KindRules(validate=validate, validate_update=validate_update)
