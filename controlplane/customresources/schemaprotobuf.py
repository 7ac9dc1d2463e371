"""Schemas of CustomResourceDefinitions in Kubernetes' protobuf, for clients of the REST API. The store has their JSON.

Source: JSONSchemaProps of apiextensions/v1, its generated.proto and its rules of JSON (marshal.go).
"""

from __future__ import annotations

import json
import math
from typing import Any, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from controlplane.customresources.schemaparser import MAX_DEPTH
from controlplane.requests import wirevalues
from pinnace import kinds
from pinnace.apiextensions.v1.customresourcedefinition_pb2 import CustomResourceDefinition
from pinnace.apiextensions.v1.jsonschemaprops_pb2 import (
    JSONSchemaProps,
    JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool,
    JSONSchemaPropsOrStringArray,
)
from pinnace.errors import TooLarge
from pinnace.fieldpaths import FieldError
from pinnace.jsontext import json_text, load_json

_DESCRIPTOR = cast("Descriptor", JSONSchemaProps.DESCRIPTOR)
# Fields by their names in JSON, where these differ.
_RENAMED = {"$ref": "ref", "$schema": "schema"} | {
    f"x-kubernetes-{name}": "xKubernetes" + "".join(word.capitalize() for word in name.split("-"))
    for name in (
        "preserve-unknown-fields", "embedded-resource", "int-or-string", "list-map-keys", "list-type", "map-type",
        "validations",
    )
}  # fmt: skip
_VALUES = ("default", "example")
_LISTS = ("allOf", "oneOf", "anyOf")
_MAPS = ("properties", "patternProperties", "definitions")
_OR_BOOL = ("additionalProperties", "additionalItems")
_PLAIN = tuple(
    field.name
    for field in JSONSchemaProps.DESCRIPTOR.fields
    if field.name not in {*_VALUES, *_LISTS, *_MAPS, *_OR_BOOL, "enum", "not", "items", "dependencies"}
)
_DOUBLES = ("maximum", "minimum", "multipleOf")
_JSON_NAMES = {field: name for name, field in _RENAMED.items()}


def from_kubernetes(data: bytes) -> bytes:
    """A definition with its schemas as JSON. Raises DecodeError, TooLarge."""
    item = CustomResourceDefinition.FromString(data)
    reader = _Reader(kinds.CUSTOM_RESOURCE_DEFINITION.most_values)
    for version in item.spec.versions:
        if version.schema.HasField("openAPIV3Schema"):
            # The bytes of the field: its message keeps fields that it does not have.
            schema = reader.schema(version.schema.openAPIV3Schema.SerializeToString())
            version.schema.openAPIV3Schema.Clear()
            version.schema.openAPIV3Schema.raw = _text(schema)
    return item.SerializeToString()


def to_kubernetes(data: bytes) -> bytes:
    """A stored definition as Kubernetes' clients read it."""
    item = CustomResourceDefinition.FromString(data)
    for version in item.spec.versions:
        if version.schema.openAPIV3Schema.raw:
            schema = written(json.loads(version.schema.openAPIV3Schema.raw))
            version.schema.openAPIV3Schema.Clear()
            version.schema.openAPIV3Schema.MergeFromString(schema)
    return item.SerializeToString()


def _text(value: Any) -> bytes:
    """Raises DecodeError."""
    try:
        return json_text(value)
    except FieldError as error:
        raise DecodeError(f"a schema is {error}") from None


class _Reader:
    """Reads the schemas of one definition, of which all together may have so many values."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def schema(self, data: bytes, depth: int = 0) -> dict[str, Any]:
        """The JSON of a schema. Raises DecodeError, TooLarge."""
        props, below = self._parsed(data, depth), depth + 1
        found = {_JSON_NAMES.get(name, name): _plain(getattr(props, name)) for name in _PLAIN if _is_set(props, name)}
        found |= {name: _json(getattr(props, name).raw) for name in _VALUES if props.HasField(name)}
        if props.enum:
            found["enum"] = [_json(value.raw) for value in props.enum]
        found |= {name: [self.schema(one, below) for one in getattr(props, name)] for name in _LISTS if getattr(props, name)}
        for name in _MAPS:
            if schemas := getattr(props, name):
                found[name] = {key: self.schema(one, below) for key, one in schemas.items()}
        for name in _OR_BOOL:
            if props.HasField(name):
                value: JSONSchemaPropsOrBool = getattr(props, name)
                found[name] = self.schema(value.schema, below) if value.HasField("schema") else value.allows
        if props.HasField("not"):
            found["not"] = self.schema(getattr(props, "not"), below)
        if props.HasField("items"):
            several = [self.schema(one, below) for one in props.items.jSONSchemas]
            found["items"] = several or self.schema(props.items.schema, below)
        if props.dependencies:
            found["dependencies"] = {key: self._dependency(one, below) for key, one in props.dependencies.items()}
        return found

    def _dependency(self, value: JSONSchemaPropsOrStringArray, depth: int) -> Any:
        return self.schema(value.schema, depth) if value.HasField("schema") else list(value.property)

    def _parsed(self, data: bytes, depth: int) -> JSONSchemaProps:
        """Counted before anything that takes time for each value."""
        if depth > MAX_DEPTH:
            raise DecodeError(f"a schema is more than {MAX_DEPTH} levels deep")
        try:
            if wirevalues.exceeds(_DESCRIPTOR, data, self._left):
                self._left = -1
        except wirevalues.Unreadable:
            raise DecodeError("a schema cannot be read") from None
        props = JSONSchemaProps.FromString(data) if self._left >= 0 else JSONSchemaProps()
        self._left -= 1 + sum(len(value) if field.is_repeated else 1 for field, value in props.ListFields())
        if self._left < 0:
            raise TooLarge(f"the schemas of the definition have more than {self._most} values")
        return props


def _is_set(props: JSONSchemaProps, name: str) -> bool:
    """Go writes zero values that JSON leaves out; a field with presence counts when it is there."""
    field = props.DESCRIPTOR.fields_by_name[name]
    return props.HasField(name) if field.has_presence else bool(getattr(props, name))


def _plain(value: Any) -> Any:
    """Numbers, text, and messages of these."""
    if isinstance(value, Message):
        return {field.name: item for field, item in value.ListFields()}
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    return value if isinstance(value, bool | int | str) else [_plain(item) for item in value]


def _json(raw: bytes) -> Any:
    try:
        return load_json(raw or b"null")
    except ValueError as error:
        raise DecodeError(f"a value in a schema is not JSON: {error}") from None


def written(schema: dict[str, Any]) -> bytes:
    """A schema's JSON in protobuf. Keys that JSONSchemaProps lacks are left out: no stored schema has them."""
    props = JSONSchemaProps()
    for key, value in schema.items():
        if value is not None or key in _VALUES:
            _write(props, _RENAMED.get(key, key), value)
    return props.SerializeToString()


def _write(props: JSONSchemaProps, name: str, value: Any) -> None:
    if name in _VALUES:
        getattr(props, name).raw = _text(value)
    elif name == "enum":
        for item in value:
            props.enum.add(raw=_text(item))
    elif name in _LISTS:
        getattr(props, name).extend(written(item) for item in value)
    elif name in _MAPS:
        getattr(props, name).update({key: written(item) for key, item in value.items()})
    elif name in _OR_BOOL:
        _write_choice(getattr(props, name), value)
    elif name == "not":
        setattr(props, name, written(value))
    elif name == "items":
        _write_items(props.items, value)
    elif name == "dependencies":
        for key, item in value.items():
            _write_choice(props.dependencies[key], item)
    elif name in _PLAIN:
        _write_plain(props, name, value)


def _write_choice(target: Any, value: Any) -> None:
    """A schema, or a boolean or names instead."""
    if isinstance(value, dict):
        target.schema = written(value)
        # Go sets this as well.
        if isinstance(target, JSONSchemaPropsOrBool):
            target.allows = True
    elif isinstance(value, list):
        target.property.extend(value)
    else:
        target.SetInParent()
        target.allows = bool(value)


def _write_items(target: JSONSchemaPropsOrArray, value: Any) -> None:
    if isinstance(value, list):
        target.SetInParent()
        target.jSONSchemas.extend(written(item) for item in value)
    else:
        target.schema = written(value)


def _write_plain(props: JSONSchemaProps, name: str, value: Any) -> None:
    if name == "xKubernetesValidations":
        for rule in value:
            props.xKubernetesValidations.add(**rule)
    elif name == "externalDocs":
        props.externalDocs.CopyFrom(type(props.externalDocs)(**value))
    elif isinstance(value, list):
        getattr(props, name).extend(value)
    elif name in _DOUBLES:
        setattr(props, name, _double(value))
    else:
        setattr(props, name, value)


def _double(value: float) -> float:
    """An integer beyond the range of a double is infinite, as it is for Go."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
