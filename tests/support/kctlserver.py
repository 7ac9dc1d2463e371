"""A control plane in memory for unit tests of kctl's commands: it answers like `cli.client.Client`, and records what was sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from controlplane.requests.patch import PatchType, patched
from pinnace import codec, kinds, selectors, wire
from pinnace.api.v1 import objects_pb2
from pinnace.errors import ApiError, BadRequest, Cause, Conflict, Invalid, NotFound
from pinnace.kinds import Kind

PATCHES = {1: PatchType.JSON, 2: PatchType.MERGE, 3: PatchType.STRATEGIC}


def made(kind: Kind, name: str, namespace: str = "default", **value: Any) -> Any:
    """An object from its manifest, as the server stores it."""
    item = codec.decode(kind.cls, value)
    item.metadata.name, item.metadata.namespace = name, namespace if kind.namespaced else ""
    item.metadata.uid, item.metadata.resourceVersion = f"uid-of-{name}", "1"
    return item


class Server:
    """`sent` are all requests that write; `refuse` is asked before each one and may raise."""

    def __init__(self, *present: Any, refuse: Callable[[str, Any], None] = lambda method, request: None) -> None:
        self.context = SimpleNamespace(namespace="default", name="test", rest="")
        self.objects = SimpleNamespace(**{name: name for name in ("Create", "Update", "Patch", "Apply", "Delete")})
        self.present: dict[tuple[str, str, str], Any] = {}
        self.sent: list[tuple[str, Any]] = []
        self.refuse = refuse
        for item in present:
            self.put(item)

    def put(self, item: Any) -> None:
        kind = next(kind for kind in kinds.ALL if kind.cls is type(item))
        self.present[kind.kind, item.metadata.namespace, item.metadata.name] = item

    def get(self, kind: Kind, namespace: str, name: str, **_: Any) -> Any:
        found = self.present.get(self._key(kind.kind, namespace if kind.namespaced else "", name))
        if found is None:
            raise NotFound.of(kind.resource, name)
        copy = kind.cls()
        copy.CopyFrom(found)
        return copy

    def _key(self, kind: str, namespace: str, name: str) -> tuple[str, str, str]:
        return kind, namespace, name

    def list(self, kind: Kind, namespace: str, *, labels: str = "", fields: str = "") -> list[Any]:
        wanted = selectors.parse_labels(labels)
        return [
            item
            for key, item in self.present.items()
            if key[0] == kind.kind
            and (not namespace or not kind.namespaced or key[1] == namespace)
            and selectors.matches_labels(wanted, item.metadata.labels)
            and (not fields or item.spec.nodeName == fields.removeprefix("spec.nodeName="))
        ]

    def watch(self, kind: Kind, namespace: str, *, name: str = "", **_: Any) -> Iterator[tuple[str, Any]]:
        found = self.present.get(self._key(kind.kind, namespace, name))
        if found is not None:
            yield "ADDED", found
        yield "BOOKMARK", None

    def call(self, method: str, request: Any) -> Any:
        """Raises ApiError."""
        self.refuse(method, request)
        self.sent.append((method, request))
        answer: Callable[[Any], Any] = getattr(self, f"_{method.lower()}")
        return answer(request)

    def _patch(self, request: Any) -> Any:
        kind = kinds.find(request.ref.apiVersion, request.ref.kind)
        old = self.get(kind, request.ref.namespace, request.ref.name)
        asked = json.loads(request.patch)
        version = asked.get("metadata", {}).get("resourceVersion") if isinstance(asked, dict) else None
        if version not in (None, old.metadata.resourceVersion):
            raise Conflict("the object has been modified")
        return self._store(kind, patched(kind, old, PATCHES[request.type], request.patch), dry_run=request.dryRun)

    def _create(self, request: Any) -> Any:
        if request.subresource:
            return self._evict(request)
        kind = kinds.find(request.object.apiVersion, request.object.kind)
        value = {key: item for key, item in json.loads(request.object.json).items() if key not in ("apiVersion", "kind")}
        item = codec.decode(kind.cls, value)
        return self._store(kind, made(kind, item.metadata.name, request.namespace, **value), dry_run=request.dryRun)

    def _evict(self, request: Any) -> Any:
        if request.subresource != "eviction":
            raise BadRequest(request.subresource)
        self.get(kinds.POD, request.ref.namespace, request.ref.name)
        if not request.dryRun:
            del self.present["Pod", request.ref.namespace, request.ref.name]
        return request.object

    def _update(self, request: Any) -> Any:
        kind = kinds.find(request.object.apiVersion, request.object.kind)
        value = {key: item for key, item in json.loads(request.object.json).items() if key not in ("apiVersion", "kind")}
        item = codec.decode(kind.cls, value)
        return self._store(kind, item, dry_run=request.dryRun)

    def _apply(self, request: Any) -> Any:
        """Merges, as an apply of a first manager does; of an object named `bad` it is refused."""
        response = objects_pb2.ApplyResponse()
        for item in request.objects:
            kind = kinds.find(item.apiVersion, item.kind)
            name = json.loads(item.json)["metadata"]["name"]
            if name == "bad":
                error = wire.to_status(Invalid.of(kind.kind, name, (Cause("data", "Invalid value"),)))
                response.results.add(outcome=objects_pb2.ApplyResult.FAILED, error=error)
                continue
            old = self.present.get(self._key(kind.kind, request.namespace, name)) or made(kind, name, request.namespace)
            merged = patched(kind, old, PatchType.MERGE, item.json)
            response.results.add(outcome="CONFIGURED", object=self._store(kind, merged, dry_run=request.dryRun))
        return response

    def _delete(self, request: Any) -> Any:
        kind = kinds.find(request.ref.apiVersion, request.ref.kind)
        found = self.get(kind, request.ref.namespace, request.ref.name)
        del self.present[kind.kind, request.ref.namespace, request.ref.name]
        return objects_pb2.DeleteResponse(object=self._sealed(kind, found), gone=True)

    def _store(self, kind: Kind, item: Any, *, dry_run: bool) -> Any:
        if not dry_run:
            item.metadata.resourceVersion = str(int(item.metadata.resourceVersion or "0") + 1)
            self.present[kind.kind, item.metadata.namespace, item.metadata.name] = item
        return self._sealed(kind, item)

    def _sealed(self, kind: Kind, item: Any) -> Any:
        return objects_pb2.Object(apiVersion=kind.api_version, kind=kind.kind, protobuf=item.SerializeToString())


def refusing(error: ApiError, *, times: int = 1) -> Callable[[str, Any], None]:
    """Refuses the first writes."""
    left = [times]

    def refuse(method: str, request: Any) -> None:
        if left[0]:
            left[0] -= 1
            raise error

    return refuse
