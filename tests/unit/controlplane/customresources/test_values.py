"""Custom objects along their schema: pruning, defaulting and validation."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.customresources import (
    defaulting,
    pruning,
    schemaparser,
    structuralcheck,
    validation,
    valueformats,
)
from controlplane.customresources.structural import Structural


def schema_of(spec: dict[str, Any]) -> Structural:
    parsed, errors = schemaparser.parse({"type": "object", "properties": {"spec": spec}}, "schema")
    assert not errors
    assert structuralcheck.check(parsed, "schema") == []
    return parsed


def errors_of(spec: dict[str, Any], value: Any) -> list[str]:
    return [str(error) for error in validation.validate({"spec": value}, schema_of(spec))]


@pytest.mark.parametrize(
    ("spec", "value", "expected"),
    [
        ({"type": "integer"}, "x", 'Invalid value: "string": spec in body must be of type integer: "string"'),
        ({"type": "integer"}, 1.5, 'Invalid value: "number": spec in body must be of type integer: "number"'),
        ({"type": "string"}, None, 'Invalid value: "null": spec in body must be of type string: "null"'),
        ({"x-kubernetes-int-or-string": True}, True, 'Invalid value: "boolean": spec in body must be of type integer,string: "boolean"'),
        ({"type": "integer", "maximum": 9}, 10, "Invalid value: 10: spec in body should be less than or equal to 9"),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, 1, "Invalid value: 1: spec in body should be greater than 1"),
        ({"type": "number", "multipleOf": 0.1}, 0.35, "Invalid value: 0.35: spec in body should be a multiple of 0.1"),
        ({"type": "string", "minLength": 2}, "a", 'Invalid value: "a": spec in body should be at least 2 chars long'),
        ({"type": "string", "maxLength": 2}, "abc", "Too long: may not be more than 2 bytes"),
        ({"type": "string", "pattern": "^[a-z]+$"}, "A1", "Invalid value: \"A1\": spec in body should match '^[a-z]+$'"),
        ({"type": "string", "enum": ["a", "b"]}, "c", 'Unsupported value: "c": supported values: "a", "b"'),
        ({"type": "string", "format": "date-time"}, "now", 'Invalid value: "now": spec in body must be of type date-time: "now"'),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 1}, ["a", "b"], "Too many: 2: must have at most 1 items"),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1}, [], "Invalid value: 0: spec in body should have at least 1 items"),
        ({"type": "integer", "anyOf": [{"minimum": 5}, {"enum": [1]}]}, 2, "Invalid value: 2: spec in body must validate at least one schema (anyOf)"),
        ({"type": "integer", "oneOf": [{"minimum": 5}, {"minimum": 3}]}, 6, "Invalid value: 6: spec in body must validate one and only one schema (oneOf). Found 2 valid alternatives"),
        ({"type": "integer", "not": {"enum": [7]}}, 7, "Invalid value: 7: spec in body must not validate the schema (not)"),
    ],
)  # fmt: skip
def test_an_error_has_the_words_of_kube_apiserver(spec: dict[str, Any], value: Any, expected: str) -> None:
    """Users search for these texts."""
    assert errors_of(spec, value) == [f"spec: {expected}"]


def test_errors_name_the_item_and_the_key() -> None:
    """The path leads to the value, through lists and maps."""
    spec = {"type": "object", "required": ["a"], "properties": {
        "a": {"type": "string"},
        "users": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                  "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "limits": {"type": "object", "additionalProperties": {"type": "integer"}}}}  # fmt: skip
    value = {"users": [{"name": "x"}, {"name": "x"}, {}], "tags": ["t", "u", "t"], "limits": {"cpu": "many"}}
    assert errors_of(spec, value) == [
        "spec.a: Required value",
        "spec.users[2].name: Required value",
        'spec.users[1]: Duplicate value: {"name": "x"}',
        'spec.tags[2]: Duplicate value: "t"',
        'spec.limits.cpu: Invalid value: "string": spec.limits.cpu in body must be of type integer: "string"',
    ]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date-time", "2026-11-29T16:00:00.5+01:00", "2026-13-29T16:00:00Z"),
        ("date", "2024-02-29", "2023-02-29"),
        ("byte", "aGk=", "aGk"),
        ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("ipv6", "2001:db8::1", "10.0.0.1"),
        ("cidr", "10.0.0.0/8", "10.0.0.0"),
        ("uri", "https://example.com/a?b", "not a uri"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
        ("duration", "1h30m", "soon"),
        ("hostname", "db-0.example.com", "-x"),
        ("email", "a@example.com", "a"),
        ("mac", "00:1b:44:11:3a:b7", "00:1b"),
    ],
)
def test_formats_are_checked(name: str, good: str, bad: str) -> None:
    """Formats that Kubernetes knows constrain the text; others do not."""
    assert valueformats.fits(name, good)
    assert not valueformats.fits(name, bad)
    assert valueformats.fits("favourite-colour", bad)


def test_int32_is_a_range() -> None:
    """An integer's format bounds it."""
    assert errors_of({"type": "integer", "format": "int32"}, 1 << 31) != []
    assert errors_of({"type": "integer", "format": "int64"}, 1 << 31) == []


def test_unspecified_fields_are_pruned_and_named() -> None:
    """Fields stay below preserve-unknown-fields, in maps and in an embedded object's identity."""
    schema = schema_of({"type": "object", "properties": {
        "a": {"type": "string"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"typed": {"type": "object"}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}}}},
        "template": {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": {"type": "object"}}}}})  # fmt: skip
    value = {"apiVersion": "v1", "kind": "K", "metadata": {"x": 1}, "other": 1, "spec": {
        "a": "x", "b": 1, "free": {"y": 1, "typed": {"z": 1}}, "list": [{"k": "v", "l": 1}],
        "template": {"apiVersion": "v1", "kind": "P", "metadata": {}, "spec": {}, "status": {}}}}  # fmt: skip
    dropped = pruning.prune(value, schema)
    assert sorted(dropped) == ["other", "spec.b", "spec.free.typed.z", "spec.list[0].l", "spec.template.status"]
    assert value["spec"] == {
        "a": "x", "free": {"y": 1, "typed": {}}, "list": [{"k": "v"}], "template": {"apiVersion": "v1", "kind": "P", "metadata": {}, "spec": {}},
    }  # fmt: skip


def test_defaults_fill_what_is_absent_or_null() -> None:
    """Defaults apply in objects that are present, in items and values of maps; the schema's own value is never shared."""
    schema = schema_of({"type": "object", "properties": {
        "size": {"type": "integer", "default": 3}, "maybe": {"type": "integer", "nullable": True, "default": 4},
        "gone": {"type": "string"}, "nested": {"type": "object", "default": {}, "properties": {"deep": {"type": "string", "default": "x"}}},
        "absent": {"type": "object", "properties": {"deep": {"type": "string", "default": "x"}}},
        "items": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}}}})  # fmt: skip
    value: dict[str, Any] = {"spec": {"size": None, "maybe": None, "gone": None, "items": [{}, {"p": "UDP"}]}}
    defaulting.apply_defaults(value, schema)
    defaulting.prune_nulls(value, schema)
    assert value["spec"] == {"size": 3, "maybe": None, "nested": {"deep": "x"}, "items": [{"p": "TCP"}, {"p": "UDP"}]}
    value["spec"]["nested"]["deep"] = "changed"
    fresh: dict[str, Any] = {"spec": {}}
    defaulting.apply_defaults(fresh, schema)
    assert fresh["spec"]["nested"] == {"deep": "x"}


def test_a_catastrophic_pattern_takes_linear_time() -> None:
    """RE2 does not backtrack."""
    started = time.process_time()
    assert errors_of({"type": "string", "pattern": "^(a+)+$"}, "a" * 100_000 + "b") != []
    assert time.process_time() - started < 5


def test_work_on_one_object_is_bounded() -> None:
    """Many items times many alternatives end in one error instead of minutes."""
    spec = {"type": "array", "items": {"type": "integer", "anyOf": [{"enum": [at]} for at in range(2_000)]}}
    found = errors_of(spec, [1_999] * 50_000)
    assert found == ["Forbidden: validation would take more than 500000 steps: the object is too large for its schema"]


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_any_json_is_answered(value: Any) -> None:
    """Whatever a client sends, the three walks end with errors, never with an exception."""
    schema = schema_of({"type": "object", "properties": {
        "": {"type": "number", "multipleOf": 0.5, "minimum": 1}, "0": {"type": "string", "format": "date-time", "pattern": "a"},
        "a": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string", "default": "x"}}}})  # fmt: skip
    whole = {"spec": {"": value, "0": value, "a": value}} if not isinstance(value, dict) else {"spec": value}
    pruning.prune(whole, schema)
    defaulting.apply_defaults(whole, schema)
    defaulting.prune_nulls(whole, schema)
    validation.validate(whole, schema)


@pytest.mark.parametrize("digits", [310, 400])
def test_an_integer_beyond_a_double_is_validated_as_an_integer(digits: int) -> None:
    """JSON has no largest number."""
    for type_ in ("integer", "number"):
        assert errors_of({"type": type_, "multipleOf": 5}, 10**digits) == []
        assert len(errors_of({"type": type_, "multipleOf": 5, "maximum": 1.5}, 10**digits + 1)) == 2
