"""Validation of a JSON value along a schema, in kube-apiserver's words. Rules in CEL are in `celrules`.

The work is bounded: a tree is walked once, and once more for each schema in allOf, anyOf, oneOf and not.
Source: kube-openapi's pkg/validation/validate and errors, apiextensions-apiserver's schema/listtype.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from controlplane.customresources import patterns, valueformats
from controlplane.customresources.structural import MAX_ERRORS, Structural
from pinnace import fielderrors
from pinnace.errors import Cause
from pinnace.fieldpaths import join, segment

# Pairs of a value and a schema that one validation looks at; about a second of work. Reached only by thousands of items in a
# list whose schema has hundreds of alternatives.
MAX_STEPS = 500_000


class _Errors(list[Cause]):
    """Errors found so far, and the steps that are left, which validations of alternatives share."""

    def __init__(self, left: list[int]) -> None:
        super().__init__()
        self.left = left

    def step(self) -> bool:
        """Count one step; whether the walk continues."""
        self.left[0] -= 1
        return self.left[0] >= 0 and len(self) < MAX_ERRORS


def validate(value: Any, schema: Structural, path: str = "") -> list[Cause]:
    """Every error of a value, at most MAX_ERRORS."""
    errors = _Errors([MAX_STEPS])
    _validate(value, schema, path, errors)
    if errors.left[0] < 0:
        return [
            fielderrors.forbidden(
                path, f"validation would take more than {MAX_STEPS} steps: the object is too large for its schema"
            )
        ]
    return errors[:MAX_ERRORS]


def type_of(value: Any) -> str:
    """The name that JSON Schema has for the type of a value. A whole number is an integer, however it is written."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _validate(value: Any, schema: Structural, path: str, errors: _Errors) -> None:
    if not errors.step():
        return
    found = type_of(value)
    if found == "null" and schema.nullable:
        return
    wanted = ("integer", "string") if schema.int_or_string else (schema.type,) if schema.type else ()
    if wanted and found not in wanted and (found, wanted) != ("integer", ("number",)):
        named = ",".join(wanted)
        errors.append(
            _body(path, found, f"must be of type {named}: {fielderrors.shown(found)}", reason="FieldValueTypeInvalid")
        )
        return
    errors += _value_errors(value, schema, path)
    if schema.all_of or schema.any_of or schema.one_of or schema.negated is not None:
        _logic(value, schema, path, errors)
    if isinstance(value, dict):
        _object(value, schema, path, errors)
    elif isinstance(value, list):
        _array(value, schema, path, errors)


def _body(path: str, value: Any, detail: str, *, reason: str = "FieldValueInvalid") -> Cause:
    return Cause(path, f"Invalid value: {fielderrors.shown(value)}: {path or '<nil>'} in body {detail}", reason)


def _value_errors(value: Any, schema: Structural, path: str) -> list[Cause]:
    keywords = schema.keywords
    errors = []
    if schema.enum is not None and not any(_equal(value, choice) for choice in schema.enum):
        shown = [choice if isinstance(choice, str) else json.dumps(choice) for choice in schema.enum[:100]]
        errors.append(fielderrors.not_supported(path, value, shown))
    name = keywords.get("format")
    if name and not valueformats.fits(name, value):
        errors.append(_body(path, value, f"must be of type {name}: {fielderrors.shown(value)}"))
    if isinstance(value, str):
        errors += _text(value, keywords, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        errors += _number(value, keywords, path)
    elif isinstance(value, list):
        errors += _size(len(value), keywords, path, value, ("minItems", "maxItems", "items"))
    elif isinstance(value, dict):
        errors += _size(len(value), keywords, path, value, ("minProperties", "maxProperties", "properties"))
    return errors


def _equal(one: Any, other: Any) -> bool:
    """Equality of JSON: true is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _text(value: str, keywords: dict[str, Any], path: str) -> Iterator[Cause]:
    if "maxLength" in keywords and len(value) > keywords["maxLength"]:
        yield fielderrors.too_long(path, keywords["maxLength"])
    if "minLength" in keywords and len(value) < keywords["minLength"]:
        yield _body(path, value, f"should be at least {keywords['minLength']} chars long")
    pattern = keywords.get("pattern")
    if pattern and not patterns.matches(pattern, value):
        yield _body(path, value, f"should match '{pattern}'")


def _number(value: int | float, keywords: dict[str, Any], path: str) -> Iterator[Cause]:
    maximum, minimum = keywords.get("maximum"), keywords.get("minimum")
    if maximum is not None and (value >= maximum if keywords.get("exclusiveMaximum") else value > maximum):
        equal = "" if keywords.get("exclusiveMaximum") else " or equal to"
        yield _body(path, value, f"should be less than{equal} {maximum}")
    if minimum is not None and (value <= minimum if keywords.get("exclusiveMinimum") else value < minimum):
        equal = "" if keywords.get("exclusiveMinimum") else " or equal to"
        yield _body(path, value, f"should be greater than{equal} {minimum}")
    multiple = keywords.get("multipleOf")
    # An int has no bound, and is always finite: math.isfinite would make a double of it.
    if multiple and not ((isinstance(value, int) or math.isfinite(value)) and _is_multiple(value, multiple)):
        yield _body(path, value, f"should be a multiple of {multiple}")


def _is_multiple(value: int | float, of: int | float) -> bool:
    """In decimal, so that 0.3 is a multiple of 0.1. An exponent beyond a double's is no number that JSON gave us."""
    return Fraction(str(value)) % Fraction(str(of)) == 0


def _size(count: int, keywords: dict[str, Any], path: str, value: Any, names: tuple[str, str, str]) -> Iterator[Cause]:
    low, high, noun = names
    if high in keywords and count > keywords[high]:
        yield fielderrors.too_many(path, count, keywords[high])
    if low in keywords and count < keywords[low]:
        yield _body(path, count, f"should have at least {keywords[low]} {noun}")


def _valid(value: Any, schema: Structural, path: str, errors: _Errors) -> bool:
    found = _Errors(errors.left)
    _validate(value, schema, path, found)
    return not found


def _logic(value: Any, schema: Structural, path: str, errors: _Errors) -> None:
    for one in schema.all_of:
        _validate(value, one, path, errors)
    if schema.any_of and not any(_valid(value, one, path, errors) for one in schema.any_of):
        errors.append(_body(path, value, "must validate at least one schema (anyOf)"))
    if schema.one_of:
        valid = sum(_valid(value, one, path, errors) for one in schema.one_of)
        if valid != 1:
            many = f"Found {valid} valid alternatives" if valid else "Found none valid"
            errors.append(_body(path, value, f"must validate one and only one schema (oneOf). {many}"))
    if schema.negated is not None and _valid(value, schema.negated, path, errors):
        errors.append(_body(path, value, "must not validate the schema (not)"))


def _object(value: dict[str, Any], schema: Structural, path: str, errors: _Errors) -> None:
    errors += [fielderrors.required(join(path, segment(name))) for name in schema.required if name not in value]
    if schema.embedded:
        _embedded(value, path, errors)
    for key, item in value.items():
        child = schema.child(key)
        if child is not None:
            _validate(item, child, join(path, segment(key)), errors)


def _embedded(value: dict[str, Any], path: str, errors: _Errors) -> None:
    """An object in an object: it says what it is. Source: schema/objectmeta/validation.go."""
    for name in ("apiVersion", "kind"):
        given = value.get(name)
        if not given:
            errors.append(fielderrors.required(join(path, name), "must not be empty"))
        elif not isinstance(given, str):
            errors.append(fielderrors.invalid(join(path, name), given, "must be a string"))
    if not isinstance(value.get("metadata", {}), dict):
        errors.append(fielderrors.invalid(join(path, "metadata"), value["metadata"], "must be an object"))


def _array(value: list[Any], schema: Structural, path: str, errors: _Errors) -> None:
    if schema.items is not None:
        for at, item in enumerate(value):
            _validate(item, schema.items, f"{path}[{at}]", errors)
            if len(errors) >= MAX_ERRORS:
                return
    if schema.list_type == "set":
        _unique([(at, item) for at, item in enumerate(value)], path, errors)
    elif schema.list_type == "map":
        keyed = [(at, {key: item.get(key) for key in schema.map_keys if key in item})
                 for at, item in enumerate(value) if isinstance(item, dict)]  # fmt: skip
        _unique(keyed, path, errors)


def _unique(items: list[tuple[int, Any]], path: str, errors: _Errors) -> None:
    seen: set[str] = set()
    for at, item in items:
        text = json.dumps(item, sort_keys=True, default=str)
        if text in seen:
            errors.append(fielderrors.duplicate(f"{path}[{at}]", item))
        seen.add(text)
