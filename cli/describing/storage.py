"""Claims, volumes and storage classes as kubectl describes them: lines whose cells end with tabs (`tabbed`).

Source: describePersistentVolumeClaim, describePersistentVolume and describeStorageClass of kubectl's pkg/describe.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from cli.describing.templates import NONE, pairs
from pinnace import humantime, kinds, persistentvolumes
from pinnace.kinds import Kind
from pinnace.persistentvolumes import SHORT_MODES, STORAGE
from pinnace.wellknown import BETA_DEFAULT_CLASS, DEFAULT_CLASS

_TYPES = {
    "hostPath": "HostPath (bare host directory volume)",
    "local": "LocalVolume (a persistent volume backed by local storage on a node)",
    "nfs": "NFS (an NFS mount that lasts the lifetime of a pod)",
}


def claim(client: Any, kind: Kind, item: Any) -> list[str]:
    meta, spec, status = item.metadata, item.spec, item.status
    bound = bool(spec.volumeName)
    capacity = status.capacity[STORAGE].string if bound and STORAGE in status.capacity else ""
    return [
        f"Name:\t{meta.name}", f"Namespace:\t{meta.namespace}", f"StorageClass:\t{persistentvolumes.class_of_claim(item)}",
        _status(item), f"Volume:\t{spec.volumeName}",
        *pairs("Labels", meta.labels), *pairs("Annotations", meta.annotations, sign=": "), _finalizers(meta),
        f"Capacity:\t{capacity}", f"Access Modes:\t{_modes(status.accessModes) if bound else ''}",
        f"VolumeMode:\t{spec.volumeMode}", *_used_by(client, item),
    ]  # fmt: skip


def volume(client: Any, kind: Kind, item: Any) -> list[str]:
    meta, spec = item.metadata, item.spec
    owner = f"{spec.claimRef.namespace}/{spec.claimRef.name}" if spec.HasField("claimRef") else ""
    size = spec.capacity[STORAGE].string if STORAGE in spec.capacity else ""
    return [
        f"Name:\t{meta.name}", *pairs("Labels", meta.labels), *pairs("Annotations", meta.annotations, sign=": "),
        _finalizers(meta), f"StorageClass:\t{persistentvolumes.class_of_volume(item)}", _status(item), f"Claim:\t{owner}",
        f"Reclaim Policy:\t{spec.persistentVolumeReclaimPolicy}", f"Access Modes:\t{_modes(spec.accessModes)}",
        f"VolumeMode:\t{spec.volumeMode}", f"Capacity:\t{size}", *_affinity(spec), f"Message:\t{item.status.message}",
        "Source:", *_source(spec.persistentVolumeSource),
    ]  # fmt: skip


def storage_class(client: Any, kind: Kind, item: Any) -> list[str]:
    meta = item.metadata
    default = any(meta.annotations.get(name) == "true" for name in (DEFAULT_CLASS, BETA_DEFAULT_CLASS))
    parameters = ",".join(f"{key}={value}" for key, value in sorted(item.parameters.items()))
    expansion = str(item.allowVolumeExpansion) if item.HasField("allowVolumeExpansion") else "<unset>"
    return [
        f"Name:\t{meta.name}", f"IsDefaultClass:\t{'Yes' if default else 'No'}",
        *pairs("Annotations", meta.annotations, sign="="), f"Provisioner:\t{item.provisioner}",
        f"Parameters:\t{parameters or NONE}", f"AllowVolumeExpansion:\t{expansion}",
        *_mount_options(item.mountOptions), f"ReclaimPolicy:\t{item.reclaimPolicy}",
        f"VolumeBindingMode:\t{item.volumeBindingMode}",
    ]  # fmt: skip


def templates(items: Any) -> list[str]:
    """The claims that a StatefulSet makes for its pods."""
    if not items:
        return [f"Volume Claims:\t{NONE}"]
    found = ["Volume Claims:"]
    for item in items:
        requests = item.spec.resources.requests
        marks = [*pairs("  Labels", item.metadata.labels), *pairs("  Annotations", item.metadata.annotations, sign=": ")]
        found += [f"  Name:\t{item.metadata.name}", f"  StorageClass:\t{item.spec.storageClassName}", *marks]
        found += [f"  Capacity:\t{requests[STORAGE].string if STORAGE in requests else '<default>'}"]
        found += [f"  Access Modes:\t[{' '.join(item.spec.accessModes)}]"]
    return found


def _status(item: Any) -> str:
    deleted = item.metadata.deletionTimestamp.seconds
    if deleted:
        return f"Status:\tTerminating (lasts {humantime.duration(time.time() - deleted)})"
    return f"Status:\t{item.status.phase}"


def _finalizers(meta: Any) -> str:
    return f"Finalizers:\t[{' '.join(meta.finalizers)}]"


def _modes(modes: Iterable[str]) -> str:
    given = set(modes)
    return ",".join(short for mode, short in SHORT_MODES.items() if mode in given)


def _used_by(client: Any, item: Any) -> list[str]:
    """Raises ApiError."""
    pods = client.list(kinds.POD, item.metadata.namespace)
    names = sorted(
        pod.metadata.name for pod in pods if any(claim.name == item.metadata.name for claim in persistentvolumes.claims_of(pod))
    )
    return [f"Used By:\t{names[0] if names else NONE}", *(f"\t{name}" for name in names[1:])]


def _affinity(spec: Any) -> Iterator[str]:
    if not spec.nodeAffinity.HasField("required"):
        yield f"Node Affinity:\t{NONE}"
        return
    yield "Node Affinity:\t"
    terms = spec.nodeAffinity.required.nodeSelectorTerms
    yield f"  Required Terms:\t{'' if terms else NONE}"
    for number, term in enumerate(terms):
        texts = [_expression(item) for item in (*term.matchExpressions, *term.matchFields)]
        yield f"    Term {number}:\t{texts[0] if texts else NONE}"
        yield from (f"\t{text}" for text in texts[1:])


def _expression(item: Any) -> str:
    values = f" [{', '.join(item.values)}]" if item.values else ""
    return f"{item.key} {item.operator.lower()}{values}"


def _source(source: Any) -> Iterator[str]:
    for field, value in source.ListFields():
        yield f"    Type:\t{_TYPES.get(field.name, field.name)}"
        if field.name == "nfs":
            yield f"    Server:\t{value.server}"
        yield f"    Path:\t{value.path}"
        if field.name == "nfs":
            yield f"    ReadOnly:\t{'true' if value.readOnly else 'false'}"
        elif field.name == "hostPath":
            yield f"    HostPathType:\t{value.type}"


def _mount_options(options: Any) -> list[str]:
    return ["MountOptions:", *(f"  {option}" for option in options)] if options else [f"MountOptions:\t{NONE}"]
