"""Responses compared with the OpenAPI v3 documents: each has the code, the media type and the schema that its operation declares.

Schemas are read strictly: an object has no fields but those that its schema names, unless it says that others may be.
"""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs

from tests.support import customkinds
from tests.support.trees import BASES

Json = dict[str, Any]
METHODS = ("get", "put", "post", "delete", "patch")
NAME = "thing"
# What requests need besides the smallest object of a kind.
ACTIONS: dict[str, Any] = {"Binding": {"target": {"name": "n1"}}, "TokenRequest": {"spec": {}}, "Eviction": {}}
VIRTUAL: dict[str, Any] = {
    "TokenReview": {"spec": {"token": "nonsense"}}, "SelfSubjectRulesReview": {"spec": {"namespace": "default"}},
    "SubjectAccessReview": {"spec": {"user": "jane", "resourceAttributes": {"verb": "get", "resource": "pods"}}},
    "LocalSubjectAccessReview":
        {"spec": {"user": "jane", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}},
    "SelfSubjectAccessReview": {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}},
    "CronTab": {"spec": {"cronSpec": "* * * * *", "replicas": 2}},
}  # fmt: skip


def sample(kind: str, api_version: str) -> tuple[str, dict[str, Any]]:
    """A name that the kind allows, and an object."""
    name = "widgets.example.com" if kind == "CustomResourceDefinition" else NAME
    known = {**BASES, **VIRTUAL, **ACTIONS}
    rest = known.get(f"{kind}.{api_version.rpartition('/')[0]}", known.get(kind, {}))
    if kind == "CustomResourceDefinition":
        rest = {"spec": customkinds.definition(plural="widgets", kind="Widget", short_names=())["spec"]}
        rest["spec"]["group"] = "example.com"
    return name, {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **rest}


def strict(schema: Json) -> Json:
    """A schema of OpenAPI 3.0 as one of JSON Schema; null is a type there, and unknown fields are errors."""
    made = {key: _below(key, value) for key, value in schema.items()}
    if made.pop("nullable", False) and "type" in made:
        made["type"] = [made["type"], "null"]
    free = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-embedded-resource")
    if "properties" in made and not free:
        made.setdefault("additionalProperties", False)
    return made


def _below(key: str, value: Any) -> Any:
    if key == "properties":
        return {name: strict(item) for name, item in value.items()}
    if key in ("items", "additionalProperties", "not") and isinstance(value, dict):
        return strict(value)
    return [strict(item) for item in value] if key in ("allOf", "anyOf", "oneOf") else value


class Documents:
    """Every operation by method and path. `seen` are those of which a response was compared."""

    def __init__(self, documents: list[Json]) -> None:
        self._operations: dict[tuple[str, str], tuple[Json, Json]] = {}
        self.seen: set[tuple[str, str]] = set()
        self._validators: dict[str, Any] = {}
        for document in documents:
            schemas = {name: strict(item) for name, item in document["components"]["schemas"].items()}
            for path, item in document["paths"].items():
                for method in METHODS:
                    if method in item:
                        self._operations[method, path] = item[method], schemas

    @property
    def operations(self) -> dict[tuple[str, str], Json]:
        return {key: operation for key, (operation, _) in self._operations.items()}

    def check(self, method: str, path: str, code: int, media: str, body: bytes) -> Any:
        """The response's value; fails unless the operation at `path`, a template, declares it."""
        operation, schemas = self._operations[method, path]
        self.seen.add((method, path))
        responses = operation["responses"]
        found = responses.get(str(code), responses["default"])
        assert code != 500, (method, path, body)
        if operation["x-kubernetes-action"] == "connect":
            # What is connected to answers as it likes.
            return body
        assert media in found["content"], (method, path, code, media)
        if media != "application/json":
            return body.decode()
        value = json.loads(body)
        if str(code) not in responses:
            assert (value["kind"], value["code"]) == ("Status", code)
        self.fits(method, path, value, strict(found["content"][media]["schema"]), schemas)
        return value

    def fits(self, method: str, path: str, value: Any, schema: Json, schemas: dict[str, Json]) -> None:
        key = json.dumps([method, path, schema])
        if key not in self._validators:
            whole = {**schema, "components": {"schemas": schemas}}
            self._validators[key] = jsonschema_rs.Draft7Validator(whole, validate_formats=True)
        errors = [f"{error.instance_path}: {error.message[:300]}" for error in self._validators[key].iter_errors(value)]
        assert not errors, (method, path, errors[:5], str(value)[:2000])
