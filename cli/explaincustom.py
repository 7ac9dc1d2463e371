"""`kctl explain` of custom kinds, from the schema of their definition."""

from __future__ import annotations

import textwrap
from typing import Any

from cli import discovery
from pinnace.errors import BadRequest
from pinnace.kinds import Kind

_IDENTITY = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "ObjectMeta"}}


def page(kind: Kind, path: list[str], *, recursive: bool) -> list[str]:
    """The lines about the kind, or the field at `path`. Raises BadRequest for a field that does not exist."""
    schema = discovery.schema_of(kind)
    schema = {**schema, "properties": {**_IDENTITY, **schema.get("properties", {})}}
    for at, name in enumerate(path):
        found = _fields(schema).get(name)
        if found is None:
            raise BadRequest(f'field "{name}" does not exist in {".".join([kind.plural, *path[:at]])}')
        schema = found
    lines = [f"KIND:       {kind.kind}", f"VERSION:    {kind.api_version}", ""]
    if path:
        lines += [f"FIELD: {path[-1]} <{_type(schema)}>", ""]
    lines += ["DESCRIPTION:", *_described(schema), *_rules(schema)]
    if _fields(schema):
        lines += ["", "FIELDS:", *(_tree(schema, 1) if recursive else _listed(schema))]
    return lines


def _fields(schema: dict[str, Any]) -> dict[str, Any]:
    """The fields of an object, or of a list's or a map's values."""
    while "properties" not in schema:
        below = schema.get("items") or schema.get("additionalProperties")
        if not isinstance(below, dict):
            return {}
        schema = below
    found: dict[str, Any] = schema["properties"]
    return found


def _type(schema: dict[str, Any]) -> str:
    if isinstance(schema.get("items"), dict):
        return f"[]{_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map[string]{_type(schema['additionalProperties'])}"
    if schema.get("x-kubernetes-int-or-string"):
        return "IntOrString"
    return "Object" if schema.get("type") == "object" else str(schema.get("type") or "any")


def _listed(schema: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for name, below in sorted(_fields(schema).items()):
        required = " -required-" if name in schema.get("required", ()) else ""
        lines += [f"  {name}\t<{_type(below)}>{required}", *_described(below), *_rules(below), ""]
    return lines[:-1]


def _tree(schema: dict[str, Any], depth: int) -> list[str]:
    lines: list[str] = []
    for name, below in sorted(_fields(schema).items()):
        required = " -required-" if name in schema.get("required", ()) else ""
        lines += [f"{'  ' * depth}{name}\t<{_type(below)}>{required}", *_tree(below, depth + 1)]
    return lines


def _rules(schema: dict[str, Any]) -> list[str]:
    lines = []
    if "default" in schema:
        lines.append(f"    Default: {schema['default']}")
    if schema.get("enum"):
        lines.append(f"    One of: {', '.join(map(str, schema['enum']))}")
    return lines


def _described(schema: dict[str, Any]) -> list[str]:
    text = " ".join(str(schema.get("description", "")).split())
    return textwrap.wrap(text, 92, initial_indent="    ", subsequent_indent="    ") or ["    <no description>"]
