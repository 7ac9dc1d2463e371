"""The paths of a resource as OpenAPI 3.0 operations. Pure.

Source: kube-openapi's pkg/builder3 and apiserver's pkg/endpoints/installer.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.requests.discovery import ServedResource, ServedSubresource
from controlplane.requests.patch import PatchType
from controlplane.resources.resource import PROXIED
from controlplane.rest import negotiation
from pinnace.kinds import Kind

JsonSchema = dict[str, Any]
_BODIES = (negotiation.JSON, negotiation.YAML)
_APPLY = "application/apply-patch+yaml"
# How operation IDs, and x-kubernetes-action, name the verbs of discovery.
_IDS = {"get": "read", "update": "replace"}
_ACTIONS = {"create": "post", "update": "put"}
_METHODS = {"get": "get", "list": "get", "create": "post", "update": "put", "patch": "patch",
            "delete": "delete", "deletecollection": "delete"}  # fmt: skip


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
_TEXT: JsonSchema = {"type": "string"}
_PARAMETERS = {"list": _LIST, "create": _WRITE, "update": _WRITE, "patch": _PATCH, "delete": _DELETE,
               "deletecollection": [*_SELECT, *_DELETE]}  # fmt: skip


class Operations:
    """Makes the paths of one resource. `item` and `items` are the schemas of an object and of a list, `parts` those of
    subresources that have another kind."""

    def __init__(
        self,
        served: ServedResource,
        item: JsonSchema,
        items: JsonSchema,
        *,
        status: JsonSchema,
        parts: Mapping[str, JsonSchema],
    ) -> None:
        self._served = served
        self._item = item
        self._items = items
        self._status = status
        self._parts = parts

    def paths(self) -> dict[str, JsonSchema]:
        kind = self._served.kind
        root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.api_version}"
        base = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
        found = {base: self._methods("list", "create", "deletecollection")}
        found[f"{base}/{{name}}"] = self._methods("get", "update", "patch", "delete")
        if kind.namespaced and "list" in self._served.verbs:
            everywhere = self._operation("list", kind, self._items)
            everywhere["operationId"] = f"list{_title(kind)}{kind.kind}ForAllNamespaces"
            found[f"{root}/{kind.plural}"] = {"get": everywhere}
        for part in self._served.subresources:
            found[f"{base}/{{name}}/{part.name}"] = self._stream(part) if part.streams else self._part(part)
            if part.streams and part.verbs == PROXIED:
                found[f"{base}/{{name}}/{part.name}/{{path}}"] = self._stream(part, "WithPath")
        return {path: _with_parameters(path, operations) for path, operations in found.items() if operations}

    def _methods(self, *verbs: str) -> JsonSchema:
        """The operations of the object or the collection, by method."""
        kind, offered = self._served.kind, self._served.verbs
        return {_METHODS[verb]: self._operation(verb, kind, self._answer(verb)) for verb in verbs if verb in offered}

    def _answer(self, verb: str) -> JsonSchema:
        if verb == "delete":
            # As the kind does: the last state, or that it is done.
            return {"anyOf": [self._item, self._status]}
        return self._items if verb in ("list", "deletecollection") else self._item

    def _part(self, part: ServedSubresource) -> JsonSchema:
        form = self._parts.get(part.name, self._item)
        made = JsonSchema()
        for verb in part.verbs:
            operation = self._operation(verb, part.kind, form, part.name)
            if verb == "create" and part.answers_status:
                operation["responses"]["201"] = _response("Created", self._status)
            made[_METHODS[verb]] = operation
        return made

    def _stream(self, part: ServedSubresource, suffix: str = "") -> JsonSchema:
        """Of text, or of a connection that leaves HTTP, which documents cannot describe. `suffix` is for ids."""
        made = JsonSchema()
        for verb in part.verbs:
            operation = self._operation("get", part.kind, _TEXT, part.name + suffix)
            operation["responses"]["200"] = {"description": "OK", "content": {"text/plain": {"schema": _TEXT}}}
            if part.options:
                operation["x-kubernetes-action"] = "connect"
                operation["x-kubernetes-group-version-kind"]["kind"] = part.options
                operation["operationId"] = self._id(f"connect_{_METHODS[verb]}", part.name + suffix)
            made[_METHODS[verb]] = operation
        return made

    def _operation(self, verb: str, kind: Kind, answer: JsonSchema, part: str = "") -> JsonSchema:
        code, text = ("201", "Created") if verb == "create" else ("200", "OK")
        made: JsonSchema = {
            "operationId": self._id(verb, part),
            "responses": {code: _response(text, answer), "default": _response("An error", self._status)},
            "x-kubernetes-action": _ACTIONS.get(verb, verb),
            "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        }
        if parameters := _PARAMETERS.get(verb):
            made["parameters"] = parameters
        if verb in ("create", "update"):
            made["requestBody"] = {"required": True, "content": {name: {"schema": answer} for name in _BODIES}}
        if verb == "delete":
            made["responses"]["202"] = _response("Accepted", answer)
        if verb == "patch":
            made["responses"]["201"] = _response("Created", answer)
            # An array for a JSON patch, an object for the others.
            made["requestBody"] = {"required": True, "content": {name: {"schema": {}} for name in self._patches(kind)}}
        return made

    def _patches(self, kind: Kind) -> list[str]:
        return [
            *(f"application/{item.value}" for item in PatchType if item is not PatchType.STRATEGIC or not kind.schema),
            _APPLY,
        ]

    def _id(self, verb: str, part: str) -> str:
        """Such as `replaceCoreV1NamespacedPodStatus`; the same in OpenAPI v2 and v3."""
        kind = self._served.kind
        scope = "Namespaced" if kind.namespaced else ""
        if verb == "deletecollection":
            verb, scope = "delete", f"Collection{scope}"
        verb, _, method = verb.partition("_")
        return f"{_IDS.get(verb, verb)}{_title(kind)}{method.capitalize()}{scope}{kind.kind}{part[:1].upper()}{part[1:]}"


def _title(kind: Kind) -> str:
    group = "".join(part.capitalize() for part in (kind.group.removesuffix(".k8s.io") or "core").replace("-", ".").split("."))
    return f"{group}{kind.version.capitalize()}"


def _with_parameters(path: str, operations: JsonSchema) -> JsonSchema:
    names = [name for name in ("namespace", "name", "path") if f"{{{name}}}" in path]
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    return {**operations, "parameters": parameters} if parameters else operations


def _response(text: str, content: JsonSchema) -> JsonSchema:
    return {"description": text, "content": {negotiation.JSON: {"schema": content}}}
