"""CustomResourceDefinitions for tests, and the kinds that they add."""

from __future__ import annotations

from typing import Any

from pinnace.apiextensions.v1.customresource_pb2 import CustomResource
from pinnace.kinds import Kind

GROUP = "stable.example.com"
CRONTAB: Kind[CustomResource] = Kind(f"{GROUP}/v1", "CronTab", "crontabs", CustomResource, ("ct",))


def definition(
    spec: dict[str, Any] | None = None, *, plural: str = "crontabs", kind: str = "CronTab", scope: str = "Namespaced",
    short_names: tuple[str, ...] = ("ct",), status: bool = True, versions: tuple[str, ...] = ("v1",), **version: Any,
) -> dict[str, Any]:  # fmt: skip
    """A definition whose objects have a `spec` of this schema; further arguments are fields of every version."""
    schema = {
        "type": "object",
        "properties": {
            "spec": spec or CRON_SPEC,
            "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "labelSelector": {"type": "string"}}},
        },
    }
    each = {
        "served": True,
        "schema": {"openAPIV3Schema": schema},
        **({"subresources": {"status": {}}} if status else {}),
        **version,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP, "scope": scope,
            "names": {"plural": plural, "kind": kind, "shortNames": list(short_names)},
            "versions": [{"name": name, "storage": at == 0, **each} for at, name in enumerate(versions)],
        },
    }  # fmt: skip


CRON_SPEC: dict[str, Any] = {
    "type": "object",
    "required": ["cronSpec"],
    "properties": {
        "cronSpec": {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"},
        "image": {"type": "string"},
        "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1},
        "color": {"type": "string", "enum": ["red", "blue"]},
        "env": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "value": {"type": "string"}}},
        },
        "extra": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}  # fmt: skip


def crontab(
    name: str = "backup", *, version: str = "v1", status: Any = None, labels: dict[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    """A CronTab's manifest."""
    meta: dict[str, Any] = {"name": name} | ({"labels": labels} if labels else {})
    body = {
        "apiVersion": f"{GROUP}/{version}",
        "kind": "CronTab",
        "metadata": meta,
        "spec": {"cronSpec": "* * * * */5", **spec},
    }
    return body | ({"status": status} if status is not None else {})
