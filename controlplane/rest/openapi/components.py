"""Messages as OpenAPI 3.0 component schemas, with Kubernetes' extensions. Pure.

Clients build patches from them, so merge keys and list types must be complete (x-kubernetes-patch-merge-key and its like).
Source: kube-openapi's pkg/builder3 and pkg/util/proto; OpenAPI 3.0, section Schema Object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pinnace import schema
from pinnace.manifest.scalars import resolve
from pinnace.schema import Field, Schema

JsonSchema = dict[str, Any]
REF = "#/components/schemas/"
_PACKAGES = {
    "pinnace.meta.v1": "io.k8s.apimachinery.pkg.apis.meta.v1",
    "pinnace.metrics.v1beta1": "io.k8s.metrics.pkg.apis.metrics.v1beta1",
    "pinnace.apiextensions.v1": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
}
_SCALARS: Mapping[str, JsonSchema] = {
    "string": {"type": "string"},
    "bytes": {"type": "string", "format": "byte"},
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "time": {"type": "string", "format": "date-time"},
    "microtime": {"type": "string", "format": "date-time"},
    "duration": {"type": "string"},
    "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "intorstring": {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
    "raw": {"type": "object"},
    "extravalue": {"type": "array", "items": {"type": "string"}},
    "json": {"x-kubernetes-preserve-unknown-fields": True},
}


def name_of(full_name: str) -> str:
    """`io.k8s.api.core.v1.Pod` of `pinnace.core.v1.Pod`."""
    package, _, name = full_name.rpartition(".")
    return f"{_PACKAGES.get(package, package.replace('pinnace.', 'io.k8s.api.', 1))}.{name}"


class Components:
    """The schemas of some messages, and of those that they refer to. `texts` describe messages and fields by full name."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts
        self.schemas: dict[str, JsonSchema] = {}

    def reference(self, spec: Schema) -> JsonSchema:
        """A reference to a message's schema, which is added if it is not there."""
        name = name_of(spec.full_name)
        if name not in self.schemas:
            # Before its fields: a type may contain itself.
            self.schemas[name] = {}
            self.schemas[name] = self._object(spec)
        return {"$ref": REF + name}

    def kind(self, spec: Schema, group: str, version: str, kind: str) -> JsonSchema:
        """A reference to the schema of a kind's objects, which also have apiVersion and kind."""
        found = self.reference(spec)
        described = self.schemas[name_of(spec.full_name)]
        described["properties"] = {**TYPE_META, **described["properties"]}
        described["x-kubernetes-group-version-kind"] = [{"group": group, "version": version, "kind": kind}]
        return found

    def list_of(self, name: str, item: JsonSchema, group: str, version: str, kind: str) -> JsonSchema:
        """A reference to the schema of lists of a kind."""
        meta = self.reference(schema.of(_list_meta()))
        self.schemas[name] = {
            "type": "object", "required": ["items"],
            "properties": {**TYPE_META, "items": {"type": "array", "items": item}, "metadata": {"allOf": [meta]}},
            "x-kubernetes-group-version-kind": [{"group": group, "version": version, "kind": f"{kind}List"}],
        }  # fmt: skip
        return {"$ref": REF + name}

    def _object(self, spec: Schema) -> JsonSchema:
        properties = {name: self._property(owner, item) for name, item, owner in schema.flatten(spec)}
        required = sorted(name for name, item, _ in schema.flatten(spec) if item.required)
        made: JsonSchema = {"type": "object", "properties": properties}
        if text := self._texts.get(spec.full_name):
            made["description"] = text
        if required:
            made["required"] = required
        if spec.atomic:
            made["x-kubernetes-map-type"] = "atomic"
        return made

    def _property(self, owner: Schema, item: Field) -> JsonSchema:
        value = self._value(item)
        if item.map:
            made: JsonSchema = {"type": "object", "additionalProperties": value}
        elif item.repeated:
            made = {"type": "array", "items": value, **_list_type(item)}
        elif "$ref" in value:
            # OpenAPI 3.0 ignores what stands next to a $ref.
            made = {"allOf": [value]}
        else:
            made = dict(value)
        if text := self._texts.get(f"{owner.full_name}.{item.name}"):
            made["description"] = text
        return made | _rules(item)

    def _value(self, item: Field) -> JsonSchema:
        return self.reference(item.message) if item.message is not None else dict(_SCALARS[item.type])


TYPE_META: Mapping[str, JsonSchema] = {
    "apiVersion": {"type": "string", "description": "Group and version of the object's schema."},
    "kind": {"type": "string", "description": "Kind of the object."},
}


def _list_meta() -> Any:
    from pinnace.meta.v1.meta_pb2 import ListMeta

    return ListMeta


def _list_type(item: Field) -> JsonSchema:
    rules = item.rules
    if rules.listMapKeys:
        return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(rules.listMapKeys)}
    return {"x-kubernetes-list-type": "set" if rules.set else "atomic"}


def _rules(item: Field) -> JsonSchema:
    rules, made = item.rules, JsonSchema()
    if rules.default:
        made["default"] = resolve(rules.default)
    if rules.enum:
        # The empty value counts as absent.
        made["enum"] = ["", *rules.enum]
    if rules.patchStrategy:
        made["x-kubernetes-patch-strategy"] = ",".join(rules.patchStrategy)
    if rules.patchMergeKey:
        made["x-kubernetes-patch-merge-key"] = rules.patchMergeKey
    if rules.atomic and item.map:
        made["x-kubernetes-map-type"] = "atomic"
    return made
