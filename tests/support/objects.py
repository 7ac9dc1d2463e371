"""Builders of objects: what a test says, everything else as the API would default it."""

from __future__ import annotations

from typing import Any

from pinnace import codec, kinds, rules
from pinnace.kinds import Kind


def make(kind: Kind, name: str, *, namespace: str = "default", meta: dict[str, Any] | None = None, **rest: Any) -> Any:
    """An object from JSON, with the schema's defaults. `rest` are fields of the top level."""
    where = {"namespace": namespace} if kind.namespaced else {}
    message = codec.decode(kind.cls, {"metadata": {"name": name, **where, **(meta or {})}, **rest})
    rules.apply_defaults(message)
    return message


def container(name: str = "main", *, image: str = "busybox", requests: dict[str, str] | None = None, **rest: Any) -> Any:
    resources = {"resources": {"requests": requests}} if requests else {}
    return {"name": name, "image": image, **resources, **rest}


def pod(
    name: str = "web",
    *containers: Any,
    init: tuple[Any, ...] = (),
    namespace: str = "default",
    meta: dict[str, Any] | None = None,
    **spec: Any,
) -> Any:
    """A pod of `containers` (names or JSON; one called `main` when there are none); `spec` are its other fields."""
    if init:
        spec["initContainers"] = [_container(item) for item in init]
    spec["containers"] = [_container(item) for item in containers or ("main",)]
    return make(kinds.POD, name, namespace=namespace, meta=meta, spec=spec)


def _container(item: Any) -> Any:
    return container(item) if isinstance(item, str) else item


def node(
    name: str = "n1", *, cpu: str = "4", memory: str = "8Gi", pods: str = "110", meta: dict[str, Any] | None = None,
    **spec: Any,
) -> Any:  # fmt: skip
    amounts = {"cpu": cpu, "memory": memory, "pods": pods, "ephemeral-storage": "100Gi"}
    return make(kinds.NODE, name, meta=meta, spec=spec, status={"capacity": amounts, "allocatable": amounts})


def config_map(name: str = "settings", data: dict[str, str] | None = None, **rest: Any) -> Any:
    return make(kinds.CONFIG_MAP, name, data=data or {"a": "1"}, **rest)


def owned_by(owner: Any, **rest: Any) -> dict[str, Any]:
    """An owner reference, for `meta={"ownerReferences": [owned_by(owner)]}`."""
    kind = owner.DESCRIPTOR.name
    return {"apiVersion": "v1", "kind": kind, "name": owner.metadata.name, "uid": owner.metadata.uid, **rest}


def runtime_class(name: str = "sandboxed", *, handler: str = "runc", **rest: Any) -> Any:
    return make(kinds.RUNTIME_CLASS, name, handler=handler, **rest)
