"""Schemas of definitions between JSON and Kubernetes' protobuf."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from controlplane.customresources import schemaprotobuf
from pinnace.apiextensions.v1.customresourcedefinition_pb2 import CustomResourceDefinition
from pinnace.apiextensions.v1.jsonschemaprops_pb2 import JSONSchemaProps
from pinnace.errors import TooLarge
from pinnace.protowire import field

SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from(["object", "string", "integer"]),
    "description": st.text(min_size=1, max_size=5),
    "nullable": st.just(True),
    "maximum": st.floats(allow_nan=False, allow_infinity=False),
    "minimum": st.integers(-(2**53), 2**53),
    "maxLength": st.integers(0, 2**63 - 1),
    "required": st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=3),
    "default": st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=3), st.lists, max_leaves=3),
    "enum": st.lists(st.none() | st.integers() | st.text(max_size=3), min_size=1, max_size=3),
    "example": st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    "externalDocs": st.fixed_dictionaries({"url": st.just("https://example.com")}),
    "x-kubernetes-preserve-unknown-fields": st.booleans(),
    "x-kubernetes-int-or-string": st.just(True),
    "x-kubernetes-list-type": st.just("map"),
    "x-kubernetes-list-map-keys": st.just(["name"]),
    "x-kubernetes-validations": st.just([{"rule": "self.a > 0", "message": "m", "optionalOldSelf": False}]),
}
SCHEMAS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.fixed_dictionaries({}, optional=SCALARS),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            **SCALARS,
            "properties": st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=3),
            "items": inner,
            "additionalProperties": inner | st.booleans(),
            "not": inner,
            "allOf": st.lists(inner, min_size=1, max_size=2),
        },
    ),
    max_leaves=6,
)


def definition(schema: bytes) -> bytes:
    """One with a version whose schema is these bytes: spec 2, versions 7, schema 4, openAPIV3Schema 1."""
    return functools.reduce(lambda data, number: field(number, data), (1, 4, 7, 2), schema)


def stored(data: bytes) -> Any:
    """The schema that is stored of a definition in Kubernetes' protobuf."""
    item = CustomResourceDefinition.FromString(schemaprotobuf.from_kubernetes(data))
    return json.loads(item.spec.versions[0].schema.openAPIV3Schema.raw)


@given(SCHEMAS)
def test_a_schema_is_the_same_after_both_ways(schema: dict[str, Any]) -> None:
    """Every keyword, at every place."""
    item = CustomResourceDefinition()
    item.spec.versions.add(name="v1").schema.openAPIV3Schema.raw = json.dumps(schema).encode()
    assert stored(schemaprotobuf.to_kubernetes(item.SerializeToString())) == schema


def test_the_numbers_of_fields_are_those_of_kubernetes() -> None:
    """As a Go client writes {type: object, x-kubernetes-preserve-unknown-fields: true} with its zero values: type 5, 38."""
    written = b"\x0a\x00\x12\x00\x22\x00\x2a\x06object\x32\x00\x50\x00\xb0\x02\x01"
    assert stored(definition(written)) == {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def test_a_property_is_an_entry_of_a_map() -> None:
    """properties 29, with key 1 and value 2."""
    written = b"\xea\x01\x0d\x0a\x01a\x12\x08\x2a\x06string"
    assert stored(definition(written)) == {"properties": {"a": {"type": "string"}}}


def test_go_allows_what_a_schema_of_other_properties_describes() -> None:
    """`allows` stands next to the schema (JSONSchemaPropsOrBool)."""
    props = JSONSchemaProps.FromString(schemaprotobuf.written({"additionalProperties": {"type": "string"}}))
    assert props.additionalProperties.allows
    assert props.additionalProperties.schema == b"\x2a\x06string"


def nested(levels: int) -> bytes:
    schema = b""
    for _ in range(levels):
        schema = JSONSchemaProps(allOf=[schema]).SerializeToString()
    return schema


def test_a_deep_schema_is_refused() -> None:
    """At the depth at which its JSON would be."""
    assert stored(definition(nested(60)))
    with pytest.raises(DecodeError, match="64 levels"):
        stored(definition(nested(65)))


@pytest.mark.parametrize("spoilt", [b"\xc2\x01\xff", b"\x42\x03\x0a\x01{", b"\x42\x05\x0a\x03NaN"])
def test_bytes_that_are_no_schema_are_refused(spoilt: bytes) -> None:
    """A message that is cut off, and a default that is not JSON."""
    with pytest.raises(DecodeError):
        stored(definition(spoilt))


@pytest.mark.parametrize("many", [b"\xca\x01\x00", b"\xba\x01\x00", b"\xa2\x01\x00"], ids=["schemas", "names", "values"])
def test_more_values_than_a_definition_may_have_are_refused(many: bytes) -> None:
    """Before they are read: empty schemas, names or values, a million of them in three megabytes."""
    with pytest.raises(TooLarge):
        stored(definition(many * 1_000_000))
