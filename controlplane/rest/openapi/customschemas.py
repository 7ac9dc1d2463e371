"""The schema of a custom kind as documents publish it: as the definition has it, with what every object has. Pure.

Source: apiextensions-apiserver's pkg/controller/openapi/builder.
"""

from __future__ import annotations

from controlplane.rest.openapi.components import TYPE_META, JsonSchema
from pinnace.kinds import Kind


def published(kind: Kind, defined: JsonSchema, meta: JsonSchema) -> JsonSchema:
    """`meta` refers to the schema of ObjectMeta."""
    found = _walk(defined, meta)
    metadata = {"metadata": {"allOf": [meta]}}
    return {
        **found, "type": "object", "properties": {**TYPE_META, **found.get("properties", {}), **metadata},
        "x-kubernetes-group-version-kind": [{"group": kind.group, "version": kind.version, "kind": kind.kind}],
    }  # fmt: skip


def _walk(found: JsonSchema, meta: JsonSchema) -> JsonSchema:
    """With the fields that embedded objects have and definitions leave out."""
    made = dict(found)
    if isinstance(properties := found.get("properties"), dict):
        made["properties"] = {name: _walk(item, meta) for name, item in properties.items()}
    for key in ("items", "additionalProperties"):
        if isinstance(item := found.get(key), dict):
            made[key] = _walk(item, meta)
    if found.get("x-kubernetes-embedded-resource") is True:
        made["properties"] = {**TYPE_META, "metadata": {"allOf": [meta]}, **made.get("properties", {})}
    return made
