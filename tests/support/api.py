"""The Objects service as a client uses it: manifests in, objects out, without a wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pinnace import errors, kinds, wire
from pinnace.api.v1 import objects_pb2
from pinnace.apiextensions.v1.customresource_pb2 import CustomResource
from pinnace.kinds import Kind
from tests.support.cluster import Cluster

_PATCH = objects_pb2.PatchRequest
_RESULT = objects_pb2.ApplyResult
_EVENT = objects_pb2.WatchEvent


class Api:
    """Calls as `manager` in the namespace default. Answers are messages; failures are raised."""

    def __init__(self, cluster: Cluster, manager: str = "kctl") -> None:
        self._objects = cluster.api
        self._manager = manager

    def ref(self, kind: Kind, name: str = "", namespace: str = "default") -> objects_pb2.Reference:
        where = namespace if kind.namespaced else ""
        return objects_pb2.Reference(apiVersion=kind.api_version, kind=kind.kind, namespace=where, name=name)

    async def get(self, kind: Kind, name: str) -> Any:
        return opened(await self._objects.Get(objects_pb2.GetRequest(ref=self.ref(kind, name)), None))

    async def create(self, kind: Kind, value: Any, *, dry_run: bool = False) -> Any:
        return opened(await self._objects.Create(self._write(kind, value, dry_run=dry_run), None))

    async def update(self, kind: Kind, value: Any, *, dry_run: bool = False) -> Any:
        return opened(await self._objects.Update(self._write(kind, value, dry_run=dry_run), None))

    async def update_status(self, kind: Kind, value: Any) -> Any:
        return opened(await self._objects.UpdateStatus(self._write(kind, value), None))

    def _write(self, kind: Kind, value: Any, *, dry_run: bool = False) -> objects_pb2.WriteRequest:
        return objects_pb2.WriteRequest(object=sealed(kind, value), fieldManager=self._manager, dryRun=dry_run)

    async def list(self, kind: Kind, **how: Any) -> objects_pb2.ListResponse:
        how.setdefault("ref", self.ref(kind))
        return await self._objects.List(objects_pb2.ListRequest(**how), None)

    async def patch(self, kind: Kind, name: str, type_: str, patch: Any, **how: Any) -> Any:
        body = patch if isinstance(patch, bytes) else json.dumps(patch).encode()
        request = _PATCH(ref=self.ref(kind, name), type=_PATCH.Type.Value(type_), patch=body, fieldManager=self._manager, **how)
        return opened(await self._objects.Patch(request, None))

    async def apply(self, *manifests: Any, **how: Any) -> list[tuple[str, Any]]:
        """Outcome and object of each; a failure's object is the error."""
        items = [objects_pb2.Object(apiVersion=m["apiVersion"], kind=m["kind"], json=json.dumps(m).encode()) for m in manifests]
        request = objects_pb2.ApplyRequest(objects=items, fieldManager=self._manager, **how)
        return [_result(item) for item in (await self._objects.Apply(request, None)).results]

    async def delete(self, kind: Kind, name: str, **how: Any) -> bool:
        """Whether it is gone."""
        answer = await self._objects.Delete(objects_pb2.DeleteRequest(ref=self.ref(kind, name), **how), None)
        return bool(answer.gone)

    @asynccontextmanager
    async def watch(self, kind: Kind, **how: Any) -> AsyncIterator[Watch]:
        how.setdefault("ref", self.ref(kind))
        responses = self._objects.Watch(objects_pb2.WatchRequest(**how), None)
        try:
            yield Watch(responses)
        finally:
            await responses.aclose()


class Watch:
    """Events one by one, as (type, name); a bookmark has no name."""

    def __init__(self, responses: Any) -> None:
        self._responses = responses
        self._events: list[Any] = []

    async def event(self) -> Any:
        while not self._events:
            response = await asyncio.wait_for(anext(self._responses), 5)
            self._events = list(response.events)
        return self._events.pop(0)

    async def next(self) -> tuple[str, str]:
        event = await self.event()
        name = opened(event.object).metadata.name if event.HasField("object") else ""
        return _EVENT.Type.Name(event.type), name


def sealed(kind: Kind, value: Any) -> objects_pb2.Object:
    """A manifest travels as JSON, a message as protobuf."""
    body = {"json": json.dumps(value).encode()} if isinstance(value, dict) else {"protobuf": value.SerializeToString()}
    return objects_pb2.Object(apiVersion=kind.api_version, kind=kind.kind, **body)


def opened(item: objects_pb2.Object) -> Any:
    try:
        cls = kinds.find(item.apiVersion, item.kind).cls
    except errors.NotFound:
        cls = CustomResource
    return cls.FromString(item.protobuf)


def _result(item: objects_pb2.ApplyResult) -> tuple[str, errors.ApiError | Any]:
    failed = item.outcome == _RESULT.FAILED
    return _RESULT.Outcome.Name(item.outcome).lower(), wire.from_status(item.error) if failed else opened(item.object)


def config(name: str = "settings", labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    """A ConfigMap's manifest."""
    meta = {"name": name} | ({"labels": labels} if labels else {})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta} | ({"data": data} if data else {})


def pod_manifest(name: str = "web", image: str = "busybox", **spec: Any) -> dict[str, Any]:
    containers = spec.pop("containers", [{"name": "main", "image": image}])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": containers, **spec}}
