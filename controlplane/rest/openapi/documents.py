"""OpenAPI v3 by path: the index of group versions, and the document of each, with a hash that changes with its content.

A document is made when it is first asked for, that of custom kinds again when a definition changed, and kept compressed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from controlplane.http.compression import Packed
from controlplane.http.messages import JSON, Request, Response
from controlplane.requests import discovery
from controlplane.requests.discovery import ServedResource, ServedVersion
from controlplane.resources.registry import Registry
from controlplane.rest.bodies import dumps
from controlplane.rest.openapi import customschemas
from controlplane.rest.openapi.components import REF, Components, JsonSchema, name_of
from controlplane.rest.openapi.operations import Operations
from controlplane.store import Store
from pinnace import kinds, schema
from pinnace.kinds import Kind
from pinnace.meta.v1.meta_pb2 import ObjectMeta, Status

ROOT = "/openapi/v3"


@dataclass(frozen=True, slots=True)
class Document:
    """`hash` is that of the content."""

    content: Packed
    hash: str


class OpenAPI:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._registry = Registry.of(store)
        # By path, with what it was made from.
        self._made: dict[str, tuple[object, Document]] = {}

    async def respond(self, request: Request) -> Response | None:
        """None for a path that is no document of OpenAPI v3."""
        path = request.path.rstrip("/")
        if path == ROOT:
            found = {
                name: {"serverRelativeURL": f"{ROOT}/{name}?hash={document.hash}"}
                for name, document in (await self.documents()).items()
            }
            return Response(dumps({"paths": found}), JSON)
        version = self._versions().get(path.removeprefix(f"{ROOT}/"))
        return None if version is None else answer(request, self._of(_path(version), version), JSON)

    async def documents(self) -> dict[str, Document]:
        """All, by the path of their group version; those that are gone are forgotten."""
        versions, found = self._versions(), dict[str, Document]()
        for path, version in versions.items():
            found[path] = self._of(path, version)
            # Each takes some ten milliseconds when it is made.
            await asyncio.sleep(0)
        self._made = {path: kept for path, kept in self._made.items() if path in versions}
        return found

    def _versions(self) -> dict[str, ServedVersion]:
        return {_path(version): version for group in discovery.groups(self._registry) for version in group.versions}

    def _of(self, path: str, version: ServedVersion) -> Document:
        made_from = tuple((item.kind.kind, id(item.kind.schema), self._definition(item.kind)[0]) for item in version.resources)
        kept = self._made.get(path)
        if kept is not None and kept[0] == made_from:
            return kept[1]
        content = dumps(self._build(version))
        document = Document(Packed(content), hashlib.sha256(content).hexdigest()[:32].upper())
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
        status = components.kind(schema.of(Status), "", "v1", "Status")
        for served in version.resources:
            item, name = self._item(components, served)
            kind = served.kind
            listed = "list" in served.verbs
            items = components.list_of(f"{name}List", item, kind.group, kind.version, kind.kind) if listed else item
            parts = {
                part.name: _of_kind(components, part.kind)
                for part in served.subresources
                if part.kind is not kind and not part.streams
            }
            paths |= Operations(served, item, items, status=status, parts=parts).paths()
        return {
            "openapi": "3.0.0", "info": {"title": "Pinnace", "version": "v1.37"}, "paths": paths,
            "components": {"schemas": components.schemas},
        }  # fmt: skip

    def _item(self, components: Components, served: ServedResource) -> tuple[JsonSchema, str]:
        """The schema of a kind's objects, and its name."""
        kind = served.kind
        if kind.schema is None:
            return _of_kind(components, kind), name_of(schema.of(kind.cls).full_name)
        name = ".".join([*reversed(kind.group.split(".")), kind.version, kind.kind])
        components.schemas[name] = customschemas.published(
            kind, self._schema(kind), components.reference(schema.of(ObjectMeta))
        )
        return {"$ref": REF + name}, name

    def _schema(self, kind: Kind) -> JsonSchema:
        """As the definition has it."""
        _, definition = self._definition(kind)
        version = next((item for item in definition.spec.versions if item.name == kind.version), None) if definition else None
        found: JsonSchema = json.loads(version.schema.openAPIV3Schema.raw or b"{}") if version is not None else {}
        return found


def answer(request: Request, document: Document, media: str) -> Response:
    """A document, unless the client has it."""
    etag = ("etag", f'"{document.hash}"'), ("vary", "accept")
    if f'"{document.hash}"' in request.header("if-none-match"):
        return Response(b"", media, 304, etag)
    return document.content.response(request, media, etag)


def _of_kind(components: Components, kind: Kind) -> JsonSchema:
    return components.kind(schema.of(kind.cls), kind.group, kind.version, kind.kind)


def _path(version: ServedVersion) -> str:
    return f"apis/{version.api_version}" if version.group else f"api/{version.version}"


@cache
def _texts() -> Mapping[str, str]:
    found: dict[str, str] = json.loads(resources.files("pinnace").joinpath("field_docs.json").read_text())
    return found
