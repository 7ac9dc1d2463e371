"""OpenAPI v3 documents as the one of OpenAPI v2 (Swagger) that older clients ask for. Pure.

What version 2 cannot say is left out, as Kubernetes does: a value of several types has none, and no fields.
Source: kube-openapi's pkg/openapiconv and apiextensions-apiserver's pkg/controller/openapi/v2; the OpenAPI Specification 2.0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane.rest.openapi.components import REF, JsonSchema

_METHODS = ("get", "put", "post", "delete", "patch")
# Keywords that version 2 does not have, and those that say several things of one value.
_DROPPED = frozenset(("nullable", "allOf", "anyOf", "oneOf", "not"))
_GVK = "x-kubernetes-group-version-kind"
_PRESERVE = "x-kubernetes-preserve-unknown-fields"


def merged(documents: Iterable[JsonSchema]) -> JsonSchema:
    """One document of several."""
    definitions, paths = JsonSchema(), JsonSchema()
    for document in documents:
        info = document["info"]
        paths |= {path: _path(item) for path, item in document["paths"].items()}
        for name, item in document["components"]["schemas"].items():
            definitions[name] = _with_kinds(_definition(item), definitions.get(name, {}).get(_GVK, []))
    return {"swagger": "2.0", "info": info, "paths": paths, "definitions": definitions}


def _definition(item: JsonSchema) -> JsonSchema:
    """A kind that keeps unknown fields is any object: kubectl would refuse what its properties do not have."""
    if _GVK in item and item.get(_PRESERVE) is True:
        return {"type": "object", _GVK: item[_GVK]}
    return schema(item)


def _with_kinds(found: JsonSchema, before: list[JsonSchema]) -> JsonSchema:
    """A definition of several documents has the kinds of all."""
    if before:
        found[_GVK] = [*before, *(item for item in found.get(_GVK, []) if item not in before)]
    return found


def schema(found: JsonSchema) -> JsonSchema:
    """One schema, and those below it."""
    reference = _reference(found)
    if reference:
        kept = {key: item for key, item in found.items() if key == "description" or key.startswith("x-")}
        return {"$ref": reference.replace(REF, "#/definitions/", 1), **kept}
    made = {key: item for key, item in found.items() if key not in _DROPPED}
    if "oneOf" in found and "type" not in found:
        # A quantity, or an integer or a text: as texts they are always right.
        made["type"] = "string"
    untyped = found.get("nullable") is True or found.get(_PRESERVE) is True
    if untyped:
        for key in ("type", "items", "properties"):
            made.pop(key, None)
    return _below(made)


def _below(made: JsonSchema) -> JsonSchema:
    properties = made.get("properties")
    if properties is not None:
        made["properties"] = {name: schema(item) for name, item in properties.items()}
        # What may be null may be absent.
        may_be_null = {name for name, item in properties.items() if item.get("nullable") is True}
        if may_be_null.intersection(made.get("required", ())):
            made["required"] = [name for name in made["required"] if name not in may_be_null]
            if not made["required"]:
                del made["required"]
    for key in ("items", "additionalProperties"):
        if isinstance(item := made.get(key), dict):
            made[key] = schema(item)
    if made.get("type") == "array" and "items" not in made:
        # Clients do not read lists of anything.
        del made["type"]
    return made


def _reference(found: JsonSchema) -> str:
    """Also of one that stands in an `allOf`, so that it may have a description."""
    parts = found.get("allOf", ())
    if len(parts) == 1 and "type" not in found and "properties" not in found:
        return str(parts[0].get("$ref", ""))
    return str(found.get("$ref", ""))


def _path(item: JsonSchema) -> JsonSchema:
    made = {method: _operation(item[method]) for method in _METHODS if method in item}
    return {**made, "parameters": _parameters(item["parameters"])} if "parameters" in item else made


def _operation(found: JsonSchema) -> JsonSchema:
    made = {key: item for key, item in found.items() if key not in ("parameters", "requestBody", "responses")}
    parameters = _parameters(found.get("parameters", []))
    if "requestBody" in found:
        content: dict[str, Any] = found["requestBody"]["content"]
        made["consumes"] = list(content)
        body = schema(next(iter(content.values()))["schema"]) or {"type": "object"}
        parameters = [{"name": "body", "in": "body", "required": True, "schema": body}, *parameters]
    if parameters:
        made["parameters"] = parameters
    made["produces"] = sorted({name for item in found["responses"].values() for name in item["content"]})
    made["responses"] = {code: _response(item) for code, item in found["responses"].items()}
    made["schemes"] = ["https"]
    return made


def _parameters(found: list[JsonSchema]) -> list[JsonSchema]:
    """The type of a parameter stands in it."""
    return [{**{key: value for key, value in item.items() if key != "schema"}, **item["schema"]} for item in found]


def _response(found: JsonSchema) -> JsonSchema:
    content = next(iter(found["content"].values()))["schema"]
    # An answer that is one of two has the first's schema, that of the resource itself.
    return {"description": found["description"], "schema": schema(content.get("anyOf", [content])[0])}
