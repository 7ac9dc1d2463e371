"""Parses `openAPIV3Schema`, bounded and total: an error by path for what is no JSON Schema of a CustomResourceDefinition.

Every field of Kubernetes' JSONSchemaProps is known; a field that it does not have is refused by name. The definition keeps the
JSON text that it was given. Source: apiextensions-apiserver's pkg/apis/apiextensions/v1/types_jsonschema.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.customresources.structural import MAX_ERRORS, UNSET, Rule, Structural
from pinnace import fielderrors
from pinnace.errors import Cause

# Deepest nesting of a schema: a tree of this depth is walked recursively without nearing Python's limit.
MAX_DEPTH = 64
# Schemas in one version. Larger than the largest definition in use by a factor of ten.
MAX_NODES = 50_000
LOGICAL = ("allOf", "anyOf", "oneOf")
_NUMBERS = ("maximum", "minimum", "multipleOf")
_COUNTS = ("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties")
_FLAGS = (
    "nullable", "exclusiveMaximum", "exclusiveMinimum", "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string",
)  # fmt: skip
_TEXTS = ("type", "format", "pattern", "title", "description", "x-kubernetes-list-type", "x-kubernetes-map-type")
_REFUSED = {
    "$ref": "$ref is not supported", "$schema": "$schema is not supported", "id": "id is not supported",
    "definitions": "definitions is not supported", "dependencies": "dependencies is not supported",
    "patternProperties": "patternProperties is not supported", "additionalItems": "additionalItems is not supported",
}  # fmt: skip


def parse(value: Any, path: str) -> tuple[Structural, list[Cause]]:
    """The tree of an `openAPIV3Schema`, and what is wrong with its form; with errors the tree is incomplete."""
    parser = _Parser()
    return parser.schema(value, path, 0), parser.errors


def _unknown(path: str) -> Cause:
    return Cause(path, f'unknown field "{path.removeprefix(".")[:200]}"')


class _Parser:
    def __init__(self) -> None:
        self.errors: list[Cause] = []
        self._left = MAX_NODES

    def _wrong(self, path: str, value: Any, detail: str) -> None:
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(fielderrors.invalid(path, value, detail))

    def schema(self, value: Any, path: str, depth: int) -> Structural:
        out = Structural()
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            limit = f"at most {MAX_DEPTH} levels deep" if depth > MAX_DEPTH else f"at most {MAX_NODES} schemas"
            self._wrong(path, "...", f"must be {limit}")
        elif not isinstance(value, dict):
            self._wrong(path, value, "must be a schema object")
        elif len(self.errors) < MAX_ERRORS:
            for key, item in value.items():
                # Null is absent, as in every typed field of a definition.
                if item is not None:
                    self._keyword(out, key, item, f"{path}.{key}", depth)
            out.ruled = bool(out.rules) or any(schema.ruled for _, schema in out.nested())
            out.defaulted = out.default is not UNSET or any(schema.defaulted for _, schema in out.nested())
        return out

    def _keyword(self, out: Structural, key: str, item: Any, path: str, depth: int) -> None:
        if key in _REFUSED:
            self.errors.append(fielderrors.forbidden(path, _REFUSED[key]))
        elif key in _TEXTS or key in _FLAGS or key in _NUMBERS or key in _COUNTS:
            self._scalar(out, key, item, path)
        elif key in ("properties", "items", "additionalProperties", "not", *LOGICAL):
            self._below(out, key, item, path, depth)
        elif key in ("required", "x-kubernetes-list-map-keys"):
            self._names(out, key, item, path)
        elif key == "enum":
            self._enum(out, item, path)
        elif key == "default":
            out.default = item
        elif key == "x-kubernetes-validations":
            self._rules(out, item, path)
        elif key == "uniqueItems":
            if item:
                detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
                self.errors.append(fielderrors.forbidden(path, detail))
        elif key == "externalDocs":
            self._external_docs(item, path)
        elif key != "example":
            self.errors.append(_unknown(path))

    def _external_docs(self, item: Any, path: str) -> None:
        if not isinstance(item, dict):
            self._wrong(path, item, "must be an object")
            return
        for key, text in item.items():
            if key not in ("description", "url"):
                self.errors.append(_unknown(f"{path}.{key[:80]}"))
            elif text is not None and not isinstance(text, str):
                self._wrong(f"{path}.{key}", text, "must be a string")

    def _scalar(self, out: Structural, key: str, item: Any, path: str) -> None:
        if key in _TEXTS:
            good, kind = isinstance(item, str), "a string"
        elif key in _FLAGS:
            good, kind = isinstance(item, bool), "a boolean"
        elif key in _COUNTS:
            good, kind = type(item) is int and 0 <= item < 1 << 63, "a non-negative integer"
        else:
            good, kind = type(item) in (int, float), "a number"
        if good:
            out.keywords[key] = item
        else:
            self._wrong(path, item, f"must be {kind}")

    def _below(self, out: Structural, key: str, item: Any, path: str, depth: int) -> None:
        if key == "properties":
            if isinstance(item, Mapping):
                out.properties = {name: self.schema(one, f"{path}[{name[:80]}]", depth + 1) for name, one in item.items()}
            else:
                self._wrong(path, item, "must be an object")
        elif key in LOGICAL:
            if isinstance(item, list):
                parsed = tuple(self.schema(one, f"{path}[{at}]", depth + 1) for at, one in enumerate(item))
                setattr(out, {"allOf": "all_of", "anyOf": "any_of", "oneOf": "one_of"}[key], parsed)
            else:
                self._wrong(path, item, "must be a list")
        elif key == "not":
            out.negated = self.schema(item, path, depth + 1)
        elif key == "items" and isinstance(item, list):
            self.errors.append(fielderrors.forbidden(path, "items must be a schema object and not an array"))
        elif key == "items":
            out.items = self.schema(item, path, depth + 1)
        else:
            self._additional(out, item, path, depth)

    def _additional(self, out: Structural, item: Any, path: str, depth: int) -> None:
        if item is False:
            self.errors.append(fielderrors.forbidden(path, "additionalProperties cannot be set to false"))
        else:
            out.additional = True if item is True else self.schema(item, path, depth + 1)

    def _names(self, out: Structural, key: str, item: Any, path: str) -> None:
        if not isinstance(item, list) or not all(isinstance(name, str) for name in item):
            self._wrong(path, item, "must be a list of strings")
        elif key == "required":
            out.required = tuple(item)
        else:
            out.map_keys = tuple(item)

    def _enum(self, out: Structural, item: Any, path: str) -> None:
        if isinstance(item, list):
            out.enum = item
        else:
            self._wrong(path, item, "must be a list")

    def _rules(self, out: Structural, item: Any, path: str) -> None:
        if not isinstance(item, list) or not all(isinstance(one, dict) for one in item):
            self._wrong(path, item, "must be a list of rules")
            return
        out.rules = tuple(self._rule(one, f"{path}[{at}]") for at, one in enumerate(item))

    def _rule(self, item: dict[str, Any], path: str) -> Rule:
        names = {"rule": "rule", "message": "message", "messageExpression": "message_expression", "reason": "reason",
                 "fieldPath": "field_path", "optionalOldSelf": "optional_old_self"}  # fmt: skip
        given: dict[str, Any] = {}
        for key, value in item.items():
            expected = bool if key == "optionalOldSelf" else str
            if key not in names:
                self.errors.append(_unknown(f"{path}.{key[:80]}"))
            elif value is None:
                continue
            elif not isinstance(value, expected):
                self._wrong(f"{path}.{key}", value, f"must be a {'boolean' if expected is bool else 'string'}")
            else:
                given[names[key]] = value
        if not given.get("rule", "").strip():
            self.errors.append(fielderrors.required(f"{path}.rule", "rule is not specified"))
        return Rule(**{"rule": "", **given})
