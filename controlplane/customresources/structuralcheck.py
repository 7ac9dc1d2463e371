"""Whether a schema is structural: each value has one type, stated outside of allOf, anyOf, oneOf and not.

Source: apiextensions-apiserver's schema/validation.go, and validation.go of its API for the extensions.
"""

from __future__ import annotations

import re
from typing import Any

from controlplane.customresources import patterns
from controlplane.customresources.structural import MAX_ERRORS, UNSET, Structural
from pinnace import fielderrors
from pinnace.errors import Cause

TYPES = ("array", "boolean", "integer", "number", "object", "string")
SCALARS = ("boolean", "integer", "number", "string")
REASONS = ("FieldValueRequired", "FieldValueInvalid", "FieldValueForbidden", "FieldValueDuplicate")
_NOT_EMPTY = {"root": "must not be empty at the root", "field": "must not be empty for specified object fields",
              "item": "must not be empty for specified array items"}  # fmt: skip
# Keywords that describe or change a value; what is in allOf and the others may only constrain it.
_OUTSIDE = (
    "type", "title", "description", "nullable", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-map-type",
)  # fmt: skip
_FIELD = re.compile(r"\.([A-Za-z_][-A-Za-z0-9_]*)|\['((?:[^'\\]|\\')+)'\]")
_FIELD_PATH = re.compile(rf"(?:{_FIELD.pattern})+")
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]


def check(schema: Structural, path: str) -> list[Cause]:
    """Every violation, at most MAX_ERRORS."""
    errors: list[Cause] = []
    if schema.type and schema.type != "object":
        errors.append(fielderrors.invalid(f"{path}.type", schema.type, "must be object at the root"))
    if schema.nullable:
        errors.append(fielderrors.forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    _schema(schema, path, "root", errors)
    _metadata(schema, path, errors)
    return errors[:MAX_ERRORS]


def _metadata(schema: Structural, path: str, errors: list[Cause]) -> None:
    metadata = schema.properties.get("metadata")
    if metadata is None:
        return
    here = f"{path}.properties[metadata]"
    if metadata.type != "object":
        errors.append(fielderrors.invalid(f"{here}.type", metadata.type, "must be object"))
    others = set(metadata.properties) - {"name", "generateName"}
    if others or metadata.items or metadata.additional or metadata.default is not UNSET:
        detail = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        errors.append(fielderrors.forbidden(here, detail))


def _schema(schema: Structural, path: str, place: str, errors: list[Cause]) -> None:
    if len(errors) >= MAX_ERRORS:
        return
    _type(schema, path, place, errors)
    _extensions(schema, path, errors)
    _constraints(schema, path, errors)
    _rules(schema, path, errors)
    if schema.properties and schema.additional:
        errors.append(
            fielderrors.forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive")
        )
    if schema.type == "array" and schema.items is None and not schema.preserve:
        errors.append(fielderrors.required(f"{path}.items", "must be specified"))
    for name, below in schema.nested():
        _schema(below, f"{path}.{name}", "item" if name == "items" else "field", errors)
    for name, junctor in schema.junctors():
        if not _is_int_or_string(schema, name, junctor):
            _nested(junctor, schema, f"{path}.{name}", errors)


def _type(schema: Structural, path: str, place: str, errors: list[Cause]) -> None:
    here = f"{path}.type"
    if schema.int_or_string:
        if schema.type:
            errors.append(fielderrors.invalid(here, schema.type, "must be empty if x-kubernetes-int-or-string is true"))
    elif not schema.type and not (schema.preserve and place != "root"):
        errors.append(fielderrors.required(here, _NOT_EMPTY[place]))
    elif schema.type and schema.type not in TYPES:
        errors.append(fielderrors.not_supported(here, schema.type, TYPES))


def _is_int_or_string(schema: Structural, name: str, junctor: Structural) -> bool:
    """The two forms in which int-or-string may repeat its types: `anyOf` itself, or the first of allOf."""
    if not schema.int_or_string:
        return False
    if name in ("anyOf[0]", "anyOf[1]"):
        return [one.keywords for one in schema.any_of] == _INT_OR_STRING
    return name == "allOf[0]" and [one.keywords for one in junctor.any_of] == _INT_OR_STRING


def _extensions(schema: Structural, path: str, errors: list[Cause]) -> None:
    if schema.keywords.get("x-kubernetes-preserve-unknown-fields") is False:
        errors.append(fielderrors.invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined"))
    if schema.embedded and schema.type != "object":
        errors.append(
            fielderrors.invalid(f"{path}.type", schema.type, "must be object if x-kubernetes-embedded-resource is true")
        )
    elif schema.embedded and not schema.properties and not schema.preserve:
        detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        errors.append(fielderrors.required(f"{path}.properties", detail))
    for keyword, given, allowed, kind in (
        ("x-kubernetes-list-type", schema.list_type, ("atomic", "set", "map"), "array"),
        ("x-kubernetes-map-type", schema.map_type, ("atomic", "granular"), "object"),
    ):
        if given and given not in allowed:
            errors.append(fielderrors.not_supported(f"{path}.{keyword}", given, allowed))
        elif given and schema.type != kind:
            errors.append(fielderrors.invalid(f"{path}.type", schema.type, f"must be {kind} if {keyword} is specified"))
    if schema.list_type == "map":
        _keyed_list(schema, path, errors)
    elif schema.map_keys:
        errors.append(
            fielderrors.forbidden(f"{path}.x-kubernetes-list-map-keys", "must be empty unless x-kubernetes-list-type is map")
        )
    if schema.list_type == "set" and schema.items is not None:
        _set_items(schema.items, f"{path}.items", errors)


def _keyed_list(schema: Structural, path: str, errors: list[Cause]) -> None:
    here, items = f"{path}.x-kubernetes-list-map-keys", schema.items
    if not schema.map_keys:
        errors.append(fielderrors.required(here, "must not be empty if x-kubernetes-list-type is map"))
    if items is None or items.type != "object":
        detail = "must be object if parent array's x-kubernetes-list-type is map"
        errors.append(fielderrors.invalid(f"{path}.items.type", items.type if items else "", detail))
        return
    if items.nullable:
        errors.append(fielderrors.forbidden(f"{path}.items.nullable", "cannot be nullable when x-kubernetes-list-type is map"))
    for at, key in enumerate(schema.map_keys):
        found = items.properties.get(key)
        if key in schema.map_keys[:at]:
            errors.append(fielderrors.duplicate(f"{here}[{at}]", key))
        elif found is None:
            errors.append(fielderrors.invalid(f"{here}[{at}]", key, "entries must all be names of item properties"))
        elif found.type not in SCALARS:
            detail = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            errors.append(fielderrors.invalid(f"{path}.items.properties[{key}].type", found.type, detail))
        elif key not in items.required and found.default is UNSET:
            detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            errors.append(fielderrors.required(f"{path}.items.properties[{key}].default", detail))


def _set_items(items: Structural, path: str, errors: list[Cause]) -> None:
    if items.nullable:
        errors.append(fielderrors.forbidden(f"{path}.nullable", "cannot be nullable when x-kubernetes-list-type is set"))
    if items.type == "object" and items.map_type != "atomic":
        detail = "must be atomic as item of a list with x-kubernetes-list-type=set"
        errors.append(fielderrors.invalid(f"{path}.x-kubernetes-map-type", items.map_type, detail))
    if items.type == "array" and items.list_type not in ("", "atomic"):
        detail = "must be atomic as item of a list with x-kubernetes-list-type=set"
        errors.append(fielderrors.invalid(f"{path}.x-kubernetes-list-type", items.list_type, detail))


def _constraints(schema: Structural, path: str, errors: list[Cause]) -> None:
    """What an expression or a number of a constraint must be, wherever it stands."""
    pattern = schema.keywords.get("pattern")
    wrong = patterns.problem(pattern) if pattern else ""
    if wrong:
        errors.append(fielderrors.invalid(f"{path}.pattern", pattern, wrong))
    multiple = schema.keywords.get("multipleOf")
    if multiple is not None and multiple <= 0:
        errors.append(fielderrors.invalid(f"{path}.multipleOf", multiple, "must be greater than 0"))
    for bound in ("exclusiveMaximum", "exclusiveMinimum"):
        if schema.keywords.get(bound) and bound[9:].lower() not in schema.keywords:
            errors.append(fielderrors.invalid(f"{path}.{bound}", True, f"must be set together with {bound[9:].lower()}"))


def _rules(schema: Structural, path: str, errors: list[Cause]) -> None:
    for at, rule in enumerate(schema.rules):
        here = f"{path}.x-kubernetes-validations[{at}]"
        if rule.reason not in REASONS:
            errors.append(fielderrors.not_supported(f"{here}.reason", rule.reason, REASONS))
        if "\n" in rule.message or (rule.message and not rule.message.strip()):
            detail = (
                "message must not contain line breaks" if rule.message.strip() else "message must be non-empty if specified"
            )
            errors.append(fielderrors.invalid(f"{here}.message", rule.message, detail))
        if "\n" in rule.rule.strip() and not (rule.message or rule.message_expression):
            detail = "message or messageExpression must be specified if rule contains line breaks"
            errors.append(fielderrors.required(f"{here}.message", detail))
        wrong = _field_path_problem(schema, rule.field_path) if rule.field_path else ""
        if wrong:
            detail = f"fieldPath must be a valid path: {wrong}"
            errors.append(fielderrors.invalid(f"{here}.fieldPath", rule.field_path, detail))


def _field_path_problem(schema: Structural, path: str) -> str:
    """What is wrong with the path of a field below a rule's schema, such as `.spec['a.b']`; items of lists have none."""
    if not _FIELD_PATH.fullmatch(path):
        return "it must consist of .name and ['name']"
    found: Structural | None = schema
    for plain, quoted in _FIELD.findall(path):
        found = found.child(plain or quoted.replace("\\'", "'")) if found is not None else None
    return "" if found is not None else "does not refer to a valid field"


def _nested(junctor: Structural, outer: Structural, path: str, errors: list[Cause]) -> None:
    """Inside allOf, anyOf, oneOf and not: constraints alone, of fields that are specified outside."""
    if len(errors) >= MAX_ERRORS:
        return
    for keyword in _OUTSIDE:
        if junctor.keywords.get(keyword) not in (None, "", False):
            errors.append(fielderrors.forbidden(f"{path}.{keyword}", "must be empty to be structural"))
    if junctor.default is not UNSET:
        errors.append(fielderrors.forbidden(f"{path}.default", "must be undefined to be structural"))
    if junctor.additional:
        errors.append(fielderrors.forbidden(f"{path}.additionalProperties", "must be undefined to be structural"))
    if junctor.rules:
        errors.append(fielderrors.forbidden(f"{path}.x-kubernetes-validations", "must be empty to be structural"))
    _constraints(junctor, path, errors)
    for name, below in junctor.nested():
        specified = _counterpart(outer, name, below)
        if specified is None:
            where = path.rpartition("properties[")[0] or path
            errors.append(
                fielderrors.required(f"{path}.{name}", f"must be specified outside of {where[-80:]} to be structural")
            )
        else:
            _nested(below, specified, f"{path}.{name}", errors)
    for name, deeper in junctor.junctors():
        _nested(deeper, outer, f"{path}.{name}", errors)


def _counterpart(outer: Structural, name: str, below: Structural) -> Structural | None:
    if name == "items":
        return outer.items
    if name == "additionalProperties":
        return outer.additional if isinstance(outer.additional, Structural) else None
    found: Any = outer.child(name.removeprefix("properties[").removesuffix("]"))
    if found is None and outer.embedded and name in ("properties[metadata]", "properties[kind]", "properties[apiVersion]"):
        return below
    return found if isinstance(found, Structural) else None
