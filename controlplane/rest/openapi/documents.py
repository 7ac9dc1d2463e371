"""OpenAPI v3 by path: the index of group versions, and the document of each, with a hash that changes with its content.

Documents of built-in kinds are made once, when they are first asked for; those of custom kinds again when a definition changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from controlplane.http.messages import JSON, Request, Response
from controlplane.requests import discovery
from controlplane.requests.discovery import ServedResource, ServedVersion
from controlplane.resources.registry import Registry
from controlplane.rest.bodies import dumps
from controlplane.rest.openapi.components import REF, TYPE_META, Components, JsonSchema, name_of
from controlplane.rest.openapi.operations import Operations
from controlplane.store import Store
from pinnace import kinds, schema
from pinnace.kinds import Kind
from pinnace.meta.v1.meta_pb2 import ObjectMeta, Status

ROOT = "/openapi/v3"


@dataclass(frozen=True, slots=True)
class _Document:
    content: bytes
    hash: str


class OpenAPI:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._registry = Registry.of(store)
        # By path, with what it was made from.
        self._made: dict[str, tuple[object, _Document]] = {}

    def respond(self, request: Request) -> Response | None:
        """None for a path that is no document of OpenAPI v3."""
        path = request.path.rstrip("/")
        if not path.startswith(ROOT):
            return None
        versions = {_path(version): version for group in discovery.groups(self._registry) for version in group.versions}
        if path == ROOT:
            found = {
                name: {"serverRelativeURL": f"{ROOT}/{name}?hash={self._of(name, versions[name]).hash}"} for name in versions
            }
            return Response(dumps({"paths": found}), JSON)
        version = versions.get(path.removeprefix(f"{ROOT}/"))
        if version is None:
            return None
        document = self._of(_path(version), version)
        etag = f'"{document.hash}"'
        if etag in request.header("if-none-match"):
            return Response(b"", JSON, 304, (("etag", etag),))
        return Response(document.content, JSON, 200, (("etag", etag),), compressible=True)

    def _of(self, path: str, version: ServedVersion) -> _Document:
        made_from = tuple((item.kind.kind, id(item.kind.schema), self._definition(item.kind)[0]) for item in version.resources)
        kept = self._made.get(path)
        if kept is not None and kept[0] == made_from:
            return kept[1]
        content = dumps(self._build(version))
        document = _Document(content, hashlib.sha256(content).hexdigest()[:32].upper())
        self._made[path] = made_from, document
        return document

    def _definition(self, kind: Kind) -> tuple[int, Any]:
        """The revision of the definition of a custom kind, and the definition; 0 for a built-in one."""
        if kind.schema is None:
            return 0, None
        row = self._store.row(kinds.CUSTOM_RESOURCE_DEFINITION, kinds.CUSTOM_RESOURCE_DEFINITION.key("", kind.resource))
        return (0, None) if row is None else (row.revision, row.message)

    def _build(self, version: ServedVersion) -> JsonSchema:
        components, paths = Components(_texts()), JsonSchema()
        status = components.reference(schema.of(Status))
        for served in version.resources:
            item, name = self._item(components, served)
            kind = served.kind
            items = components.list_of(f"{name}List", item, kind.group, kind.version, kind.kind)
            paths |= Operations(served, item, items, status).paths()
        return {
            "openapi": "3.0.0", "info": {"title": "Pinnace", "version": "v1.37"}, "paths": paths,
            "components": {"schemas": components.schemas},
        }  # fmt: skip

    def _item(self, components: Components, served: ServedResource) -> tuple[JsonSchema, str]:
        """The schema of a kind's objects, and its name."""
        kind = served.kind
        if kind.schema is None:
            spec = schema.of(kind.cls)
            return components.kind(spec, kind.group, kind.version, kind.kind), name_of(spec.full_name)
        name = ".".join([*reversed(kind.group.split(".")), kind.version, kind.kind])
        components.schemas[name] = self._custom(components, kind)
        return {"$ref": REF + name}, name

    def _custom(self, components: Components, kind: Kind) -> JsonSchema:
        _, definition = self._definition(kind)
        version = next((item for item in definition.spec.versions if item.name == kind.version), None) if definition else None
        found: JsonSchema = json.loads(version.schema.openAPIV3Schema.raw or b"{}") if version is not None else {}
        meta = {"metadata": {"allOf": [components.reference(schema.of(ObjectMeta))]}}
        gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
        return {
            **found, "type": "object", "properties": {**TYPE_META, **found.get("properties", {}), **meta},
            "x-kubernetes-group-version-kind": [gvk],
        }  # fmt: skip


def _path(version: ServedVersion) -> str:
    return f"apis/{version.api_version}" if version.group else f"api/{version.version}"


@cache
def _texts() -> Mapping[str, str]:
    found: dict[str, str] = json.loads(resources.files("pinnace").joinpath("field_docs.json").read_text())
    return found
