"""Schemas of custom resources: which are refused, and the field that the error names."""

from __future__ import annotations

import time
from typing import Any

import pytest

from controlplane.customresources import schemaparser, structuralcheck

ROOT = "schema"


def errors_of(schema: Any) -> list[str]:
    parsed, errors = schemaparser.parse(schema, ROOT)
    return [str(error) for error in errors or structuralcheck.check(parsed, ROOT)]


def in_spec(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": schema}}


SPEC = f"{ROOT}.properties[spec]"


def test_a_realistic_schema_is_structural() -> None:
    """One of each extension, as certificate, database and workload operators write them."""
    schema = in_spec({
        "type": "object", "required": ["size"],
        "properties": {
            "size": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 9, "default": 3},
            "port": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "memory": {"x-kubernetes-int-or-string": True, "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"pattern": "^[0-9]+"}]},
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "users": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                      "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}},
            "template": {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
            "extra": {"x-kubernetes-preserve-unknown-fields": True},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "atomic"},
            "mode": {"type": "string", "enum": ["Fast", "Safe"]},
        },
        "oneOf": [{"required": ["port"]}, {"required": ["memory"]}],
        "not": {"properties": {"size": {"enum": [7]}}},
    })  # fmt: skip
    assert errors_of(schema) == []


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, f"{ROOT}.type: Required value: must not be empty at the root"),
        ({"type": "string"}, f'{ROOT}.type: Invalid value: "string": must be object at the root'),
        (in_spec({}), f"{SPEC}.type: Required value: must not be empty for specified object fields"),
        (in_spec({"type": "array", "items": {}}), f"{SPEC}.items.type: Required value: must not be empty for specified array items"),
        (in_spec({"type": "array"}), f"{SPEC}.items: Required value: must be specified"),
        (in_spec({"type": "array", "items": [{"type": "string"}]}), f"{SPEC}.items: Forbidden: items must be a schema object and not an array"),
        (in_spec({"type": "text"}), f'{SPEC}.type: Unsupported value: "text": supported values: "array", "boolean", "integer", "number", "object", "string"'),
        (in_spec({"$ref": "#/definitions/x"}), f"{SPEC}.$ref: Forbidden: $ref is not supported"),
        (in_spec({"type": "object", "additionalProperties": False}), f"{SPEC}.additionalProperties: Forbidden: additionalProperties cannot be set to false"),
        (in_spec({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": True}), f"{SPEC}.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"),
        (in_spec({"type": "string", "anyOf": [{"type": "string"}]}), f"{SPEC}.anyOf[0].type: Forbidden: must be empty to be structural"),
        (in_spec({"type": "string", "allOf": [{"default": "x"}]}), f"{SPEC}.allOf[0].default: Forbidden: must be undefined to be structural"),
        (in_spec({"type": "string", "pattern": "("}), f'{SPEC}.pattern: Invalid value: "(": must be a valid regular expression, but isn\'t: error parsing regexp: missing ): ('),
        (in_spec({"type": "string", "pattern": "(?=a)"}), f'{SPEC}.pattern: Invalid value: "(?=a)": must be a valid regular expression, but isn\'t: error parsing regexp: invalid perl operator: (?='),
        (in_spec({"type": "string", "uniqueItems": True}), f"{SPEC}.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"),
        (in_spec({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "map"}), f"{SPEC}.x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map"),
        (in_spec({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"], "items": {"type": "object", "properties": {"n": {"type": "string"}}}}),
         f"{SPEC}.items.properties[n].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"),
        (in_spec({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"], "items": {"type": "object", "nullable": True, "required": ["n"], "properties": {"n": {"type": "string"}}}}),
         f"{SPEC}.items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is map"),
        (in_spec({"type": "object", "x-kubernetes-embedded-resource": True}), f"{SPEC}.properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"),
        (in_spec({"type": "object", "x-kubernetes-preserve-unknown-fields": False}), f"{SPEC}.x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"),
        (in_spec({"type": "string", "x-kubernetes-int-or-string": True}), f'{SPEC}.type: Invalid value: "string": must be empty if x-kubernetes-int-or-string is true'),
        (in_spec({"type": "string", "maxLength": -1}), f"{SPEC}.maxLength: Invalid value: -1: must be a non-negative integer"),
        (in_spec({"type": "string", "maxlength": 1}), f'{SPEC}.maxlength: unknown field "{SPEC}.maxlength"'),
        ({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}},
         f"{ROOT}.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified"),
        ([], f"{ROOT}: Invalid value: []: must be a schema object"),
    ],
)  # fmt: skip
def test_what_is_not_structural_is_refused_by_its_path(schema: Any, expected: str) -> None:
    """Each rule of Kubernetes has its error at the keyword that breaks it."""
    assert expected in errors_of(schema)


def test_a_field_inside_a_junctor_must_be_specified_outside() -> None:
    """Pruning and defaulting read the schema outside of junctors alone."""
    found = errors_of(
        in_spec({"type": "object", "properties": {"a": {"type": "string"}}, "anyOf": [{"properties": {"b": {"minLength": 1}}}]})
    )
    assert len(found) == 1
    assert found[0].startswith(f"{SPEC}.anyOf[0].properties[b]: Required value: must be specified outside of")


def test_a_schema_of_hostile_depth_or_size_is_one_error() -> None:
    """Neither the depth nor the number of schemas costs more than its bound."""
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(500):
        deep = {"type": "object", "properties": {"a": deep}}
    assert any("at most 64 levels deep" in error for error in errors_of(deep))
    wide = in_spec({"type": "object", "properties": {f"p{at}": {"type": "string"} for at in range(60_000)}})
    assert any("at most 50000 schemas" in error for error in errors_of(wide))


def test_ten_thousand_properties_are_fine() -> None:
    """Large generated schemas are in use; parsing one is a matter of milliseconds."""
    schema = in_spec({"type": "object", "properties": {f"p{at}": {"type": "string", "maxLength": 5} for at in range(10_000)}})
    started = time.process_time()
    assert errors_of(schema) == []
    assert time.process_time() - started < 10


@pytest.mark.parametrize("path", [".a", ".a.b", "['a']", ".a['b']", ".m.any", ".m['x.y']", ".list"])
def test_the_field_path_of_a_rule_leads_to_a_field(path: str) -> None:
    """From where the rule stands."""
    assert errors_of(in_spec(_with_field_path(path))) == []


@pytest.mark.parametrize("path", [".z", "a", ".a.z", ".list[0]", ".a.", "..a", ".a b", "['a", ".a\n", ".list.x"])
def test_a_field_path_that_leads_nowhere_is_refused(path: str) -> None:
    """With the definition, not with the first object; items of lists have no path."""
    [error] = errors_of(in_spec(_with_field_path(path)))
    assert error.startswith(f"{SPEC}.x-kubernetes-validations[0].fieldPath: Invalid value: "), error


def _with_field_path(path: str) -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "properties": {
            "a": {"type": "object", "properties": {"b": text}},
            "m": {"type": "object", "additionalProperties": text},
            "list": {"type": "array", "items": text},
        },
        "x-kubernetes-validations": [{"rule": "true", "fieldPath": path}],
    }
