"""Every field of Kubernetes' JSONSchemaProps: accepted, or refused by name; and fields that it does not have."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.customresources import schemaparser, structuralcheck

TEXT = {"type": "string"}
LIST = {"type": "array", "items": TEXT}
MAP = {"type": "object", "additionalProperties": TEXT}
KEYED = {"type": "array", "items": {"type": "object", "required": ["n"], "properties": {"n": TEXT}}}
# JSON names of the fields of JSONSchemaProps (types_jsonschema.go of apiextensions/v1, Kubernetes 1.37), each in a schema of
# which it is a part.
ACCEPTED: dict[str, dict[str, Any]] = {
    "description": {**TEXT, "description": "d"},
    "type": TEXT,
    "format": {**TEXT, "format": "date-time"},
    "title": {**TEXT, "title": "t"},
    "default": {**TEXT, "default": "x"},
    "maximum": {"type": "number", "maximum": 2.5},
    "exclusiveMaximum": {"type": "integer", "maximum": 2, "exclusiveMaximum": True},
    "minimum": {"type": "integer", "minimum": -2},
    "exclusiveMinimum": {"type": "integer", "minimum": 2, "exclusiveMinimum": False},
    "maxLength": {**TEXT, "maxLength": 3},
    "minLength": {**TEXT, "minLength": 0},
    "pattern": {**TEXT, "pattern": "^a$"},
    "maxItems": {**LIST, "maxItems": 3},
    "minItems": {**LIST, "minItems": 1},
    "uniqueItems": {**LIST, "uniqueItems": False},
    "multipleOf": {"type": "number", "multipleOf": 0.5},
    "enum": {**TEXT, "enum": ["a", "b"]},
    "maxProperties": {**MAP, "maxProperties": 3},
    "minProperties": {**MAP, "minProperties": 1},
    "required": {"type": "object", "properties": {"a": TEXT}, "required": ["a"]},
    "items": LIST,
    "allOf": {**TEXT, "allOf": [{"minLength": 1}]},
    "oneOf": {**TEXT, "oneOf": [{"minLength": 1}, {"maxLength": 0}]},
    "anyOf": {**TEXT, "anyOf": [{"minLength": 1}]},
    "not": {**TEXT, "not": {"enum": ["x"]}},
    "properties": {"type": "object", "properties": {"a": TEXT}},
    "additionalProperties": MAP,
    "externalDocs": {**TEXT, "externalDocs": {"description": "d", "url": "https://example.com"}},
    "example": {**TEXT, "example": {"any": ["value", 1, None]}},
    "nullable": {**TEXT, "nullable": True},
    "x-kubernetes-preserve-unknown-fields": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "x-kubernetes-embedded-resource": {
        "type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True
    },
    "x-kubernetes-int-or-string": {"x-kubernetes-int-or-string": True},
    "x-kubernetes-list-map-keys": {**KEYED, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]},
    "x-kubernetes-list-type": {**LIST, "x-kubernetes-list-type": "set"},
    "x-kubernetes-map-type": {**MAP, "x-kubernetes-map-type": "granular"},
    "x-kubernetes-validations": {"type": "object", "properties": {"a": TEXT}, "x-kubernetes-validations": [
        {"rule": "self.a != ''", "message": "m", "messageExpression": "'m'", "reason": "FieldValueInvalid", "fieldPath": ".a",
         "optionalOldSelf": False}]},
}  # fmt: skip
REFUSED = ("id", "$schema", "$ref", "patternProperties", "dependencies", "additionalItems", "definitions")


def whole(spec: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": spec}}


def errors_of(spec: Any) -> list[str]:
    parsed, errors = schemaparser.parse(whole(spec), "schema")
    return [str(error) for error in errors or structuralcheck.check(parsed, "schema")]


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_field_of_a_schema_is_accepted(name: str) -> None:
    """Without an error, and not taken for unknown."""
    assert name in ACCEPTED[name]
    assert errors_of(ACCEPTED[name]) == []


@pytest.mark.parametrize("name", REFUSED)
def test_a_field_that_no_structural_schema_has_is_refused(name: str) -> None:
    """Known, and forbidden, as in Kubernetes."""
    assert errors_of({**TEXT, name: "x"}) == [f"schema.properties[spec].{name}: Forbidden: {name} is not supported"]


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({**TEXT, "maxlength": 1}, "maxlength"),
        ({**TEXT, "x-kubernetes-unknown": True}, "x-kubernetes-unknown"),
        ({**TEXT, "const": "a"}, "const"),
        ({**TEXT, "if": {}}, "if"),
        ({**LIST, "items": {**TEXT, "examples": []}}, "items.examples"),
        ({**MAP, "additionalProperties": {**TEXT, "a": 1}}, "additionalProperties.a"),
        ({"type": "object", "properties": {"a": {**TEXT, "b": 1}}}, "properties[a].b"),
        ({**TEXT, "not": {"a": 1}}, "not.a"),
        ({**TEXT, "anyOf": [{}, {"a": 1}]}, "anyOf[1].a"),
        ({**TEXT, "externalDocs": {"link": "x"}}, "externalDocs.link"),
        ({**TEXT, "x-kubernetes-validations": [{"rule": "true", "expr": "x"}]}, "x-kubernetes-validations[0].expr"),
    ],
)
def test_an_unknown_field_is_refused_by_its_path(spec: dict[str, Any], path: str) -> None:
    """In every place where a schema or a part of one may be."""
    full = f"schema.properties[spec].{path}"
    assert f'{full}: unknown field "{full}"' in errors_of(spec)


@pytest.mark.parametrize("name", [*ACCEPTED, *REFUSED, "x-kubernetes-none"])
def test_null_is_absent(name: str) -> None:
    """As generators write it, and as Kubernetes reads it."""
    spec = {"type": "object", "properties": {"a": TEXT}}
    assert errors_of(spec | ({name: None} if name not in spec else {})) == []
