"""The paths of a resource as OpenAPI 3.0 operations. Pure.

Source: kube-openapi's pkg/builder3 and apiserver's pkg/endpoints/installer.go.
"""

from __future__ import annotations

from typing import Any

from controlplane.requests.discovery import ServedResource
from controlplane.requests.patch import PatchType
from controlplane.rest import negotiation

JsonSchema = dict[str, Any]
_BODIES = (negotiation.JSON, negotiation.YAML)
_APPLY = "application/apply-patch+yaml"


def _query(name: str, text: str, kind: str = "string") -> JsonSchema:
    return {"name": name, "in": "query", "description": text, "schema": {"type": kind}}


_SELECT = [
    _query("labelSelector", "Only objects with matching labels."),
    _query("fieldSelector", "Only objects with matching fields."),
]
_LIST = [
    *_SELECT,
    _query("limit", "Most objects in one answer.", "integer"),
    _query("continue", "The token of the page before."),
    _query("resourceVersion", "How old the state may be."),
    _query("resourceVersionMatch", "How resourceVersion is meant: Exact or NotOlderThan."),
    _query("watch", "Answer with changes instead.", "boolean"),
    _query("allowWatchBookmarks", "Send bookmarks.", "boolean"),
    _query("sendInitialEvents", "Begin a watch with the state.", "boolean"),
    _query("timeoutSeconds", "Seconds after which a watch ends.", "integer"),
]
_WRITE = [
    _query("dryRun", "All: change nothing."),
    _query("fieldManager", "Name of the writer, for the ownership of fields."),
    _query("fieldValidation", "What becomes of unknown fields: Ignore, Warn or Strict."),
]
_PATCH = [*_WRITE, _query("force", "Take fields of other managers in an apply.", "boolean")]
_DELETE = [
    _query("dryRun", "All: delete nothing."),
    _query("gracePeriodSeconds", "Seconds until the object is removed.", "integer"),
    _query("propagationPolicy", "What becomes of dependents: Orphan, Background or Foreground."),
]


class Operations:
    """Makes the paths of one resource. `item` and `items` are the schemas of an object and of a list."""

    def __init__(self, served: ServedResource, item: JsonSchema, items: JsonSchema, status: JsonSchema) -> None:
        self._served = served
        self._item = item
        self._items = items
        self._status = status

    def paths(self) -> dict[str, JsonSchema]:
        kind = self._served.kind
        root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.api_version}"
        base = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
        found = {base: self._collection(), f"{base}/{{name}}": self._object(self._item, self._served.verbs)}
        if kind.namespaced:
            found[f"{root}/{kind.plural}"] = self._only("get", self._operation("list", self._items, _LIST))
        for part in self._served.subresources:
            # Streams have no schema; parts of another kind are described by that kind's own documents.
            if part.kind is kind and "patch" in part.verbs:
                verbs = tuple(verb for verb in part.verbs if verb in ("get", "update", "patch"))
                found[f"{base}/{{name}}/{part.name}"] = self._object(self._item, verbs)
        return {path: self._with_parameters(path, operations) for path, operations in found.items()}

    def _only(self, method: str, operation: JsonSchema) -> JsonSchema:
        return {method: operation}

    def _with_parameters(self, path: str, operations: JsonSchema) -> JsonSchema:
        names = [name for name in ("namespace", "name") if f"{{{name}}}" in path]
        parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
        return {**operations, "parameters": parameters} if parameters else operations

    def _collection(self) -> JsonSchema:
        verbs, made = self._served.verbs, JsonSchema()
        if "list" in verbs:
            made["get"] = self._operation("list", self._items, _LIST)
        if "create" in verbs:
            made["post"] = self._operation("post", self._item, _WRITE, body=self._item, code="201")
        if "deletecollection" in verbs:
            made["delete"] = self._operation("deletecollection", self._items, [*_SELECT, *_DELETE])
        return made

    def _object(self, item: JsonSchema, verbs: tuple[str, ...]) -> JsonSchema:
        made = JsonSchema()
        if "get" in verbs:
            made["get"] = self._operation("get", item, [])
        if "update" in verbs:
            made["put"] = self._operation("put", item, _WRITE, body=item)
        if "patch" in verbs:
            made["patch"] = self._patch(item)
        if "delete" in verbs:
            made["delete"] = self._operation("delete", {"oneOf": [item, self._status]}, _DELETE)
        return made

    def _patch(self, item: JsonSchema) -> JsonSchema:
        custom = self._served.kind.schema is not None
        types = [f"application/{item.value}" for item in PatchType if item is not PatchType.STRATEGIC or not custom]
        made = self._operation("patch", item, _PATCH)
        made["responses"]["201"] = _response("Created", item)
        # An array for a JSON patch, an object for the others.
        made["requestBody"] = {"required": True, "content": {name: {"schema": {}} for name in (*types, _APPLY)}}
        return made

    def _operation(
        self,
        action: str,
        answer: JsonSchema,
        parameters: list[JsonSchema],
        *,
        body: JsonSchema | None = None,
        code: str = "200",
    ) -> JsonSchema:
        kind = self._served.kind
        made: JsonSchema = {
            "responses": {code: _response("OK", answer), "default": _response("An error", self._status)},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        }
        if parameters:
            made["parameters"] = parameters
        if body is not None:
            made["requestBody"] = {"required": True, "content": {name: {"schema": body} for name in _BODIES}}
        return made


def _response(text: str, content: JsonSchema) -> JsonSchema:
    return {"description": text, "content": {negotiation.JSON: {"schema": content}}}
