"""Builders of claims, volumes and storage classes."""

from __future__ import annotations

from typing import Any

from pinnace import kinds
from pinnace.wellknown import DEFAULT_CLASS, NO_PROVISIONER
from tests.support.objects import make, pod


def claim(
    name: str = "data", size: str = "1Gi", *, modes: tuple[str, ...] = ("ReadWriteOnce",), storage_class: str | None = "",
    meta: dict[str, Any] | None = None, **spec: Any,
) -> Any:  # fmt: skip
    """A claim without a class; `storage_class` None leaves the class to the default."""
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    body = {"accessModes": list(modes), "resources": {"requests": {"storage": size}}, **spec}
    return make(kinds.PERSISTENT_VOLUME_CLAIM, name, meta=meta, spec=body)


def volume(
    name: str = "pv", size: str = "1Gi", *, modes: tuple[str, ...] = ("ReadWriteOnce",), storage_class: str = "",
    meta: dict[str, Any] | None = None, **spec: Any,
) -> Any:  # fmt: skip
    """A hostPath volume, unless `spec` has another source."""
    if not {"local", "nfs", "hostPath"} & spec.keys():
        spec["hostPath"] = {"path": f"/data/{name}"}
    body = {"accessModes": list(modes), "capacity": {"storage": size}, "storageClassName": storage_class, **spec}
    return make(kinds.PERSISTENT_VOLUME, name, meta=meta, spec=body)


def local_volume(name: str = "pv", *nodes: str, **rest: Any) -> Any:
    """A directory of certain nodes, by hostname."""
    return volume(name, local={"path": f"/data/{name}"}, nodeAffinity=on(*nodes), **rest)


def on(*nodes: str) -> dict[str, Any]:
    """The node affinity of a volume that these nodes have."""
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": list(nodes)}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}


def storage_class(
    name: str = "slow", *, provisioner: str = NO_PROVISIONER, mode: str = "Immediate", default: bool = False, **rest: Any
) -> Any:
    meta = {"annotations": {DEFAULT_CLASS: "true"}} if default else None
    return make(kinds.STORAGE_CLASS, name, meta=meta, provisioner=provisioner, volumeBindingMode=mode, **rest)


def using(*claims: str, name: str = "web", **spec: Any) -> Any:
    """A pod with a volume for each claim, mounted at /CLAIM."""
    mounts = [{"name": claim, "mountPath": f"/{claim}"} for claim in claims]
    volumes = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims]
    main = {"name": "main", "image": "busybox", "volumeMounts": mounts}
    return pod(name, main, volumes=volumes, **spec)
