"""The audit log of the gRPC API: a record of each call once it is answered, as the HTTPS port has one of each request.

A call is about what it asked permission for: its verb, resource, namespace and name are those of the question. Objects are
written as JSON, and only at the levels that have them. An Apply is a request for each of its objects.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError

from controlplane import metrics
from controlplane.access import auditpolicy
from controlplane.access.attributes import Attributes
from controlplane.access.auditlog import MAX_OBJECT, Log
from controlplane.access.auditpolicy import Record
from controlplane.access.identity import ANONYMOUS, Identity
from controlplane.requests import objectjson, tables
from controlplane.resources.registry import Registry
from pinnace import codec, wire
from pinnace.api.v1 import access_pb2, objects_pb2
from pinnace.clock import Clock, Ids, perf
from pinnace.meta.v1 import meta_pb2

log = logging.getLogger("pinnace.audit")
# The service for agents, whose reports and sessions are no requests of users.
_NODES = "/pinnace.api.v1.Nodes/"


@dataclass(frozen=True, slots=True)
class Call:
    """A call that has ended. `started` as `perf` has it, `code` the name of its status, `asked` what it asked permission for,
    in order. `request` and `response` are its messages, None for those of a stream."""

    method: str
    caller: Identity | None
    peer: str
    started: float
    code: str
    asked: Sequence[Attributes] = ()
    request: Any = None
    response: Any = None


class Auditor:
    """Told of each call."""

    def __init__(self, to: Log, registry: Registry, clock: Clock, ids: Ids) -> None:
        self._log = to
        self._registry = registry
        self._clock = clock
        self._ids = ids

    def __call__(self, call: Call) -> None:
        if call.method.startswith(_NODES):
            return
        try:
            for record in self._records(call):
                self._log.put(record)
        except Exception:
            # The call has been answered.
            metrics.audit_dropped.inc()
            log.exception("audit_not_recorded method=%s", call.method)

    def _records(self, call: Call) -> Iterator[Record]:
        now = self._clock.now()
        make = partial(
            auditpolicy.of_call, call.method, call.caller or ANONYMOUS, id_=self._ids.uid(),
            received=now - (perf() - call.started), answered=now, source=source(call.peer),
        )  # fmt: skip
        if isinstance(call.request, objects_pb2.ApplyRequest) and isinstance(call.response, objects_pb2.ApplyResponse):
            parts = [*self._applied(call.request, call.response, make)]
            if parts:
                yield from parts
                return
        about = call.asked[0] if call.asked else None
        if about is None or not about.resource:
            yield make(call.code)
            return
        yield make(call.code, about, partial(self._request, call.request), partial(self._response, about, call.response))

    def _applied(self, request: objects_pb2.ApplyRequest, response: objects_pb2.ApplyResponse, make: Any) -> Iterator[Record]:
        """A record for each object; of one whose kind is not served without its content."""
        for item, result in zip(request.objects, response.results, strict=False):
            kind, code = objectjson.kind_of(self._registry, item.apiVersion, item.kind), "OK"
            if result.HasField("error"):
                code = wire.from_status(result.error).grpc
            if kind is None:
                yield make(code)
                continue
            meta = _metadata(item, result)
            about = Attributes(
                user="", verb="patch", group=kind.group, version=kind.version, resource=kind.plural,
                subresource=request.subresource, name=meta.name,
                namespace=(meta.namespace or request.namespace or "default") if kind.namespaced else "",
            )  # fmt: skip
            yield make(code, about, partial(self._object, item), partial(self._object, result.object))

    def _request(self, request: Any) -> bytes:
        match request:
            case objects_pb2.WriteRequest() | access_pb2.ReviewRequest():
                return self._object(request.object)
            case objects_pb2.PatchRequest():
                return request.patch
            case objects_pb2.DeleteRequest():
                return _dumps(_delete_options(request))
        return b""

    def _response(self, about: Attributes, response: Any) -> bytes:
        match response:
            case objects_pb2.Object():
                return self._object(response)
            case objects_pb2.DeleteResponse():
                return self._object(response.object)
            case objects_pb2.ListResponse() if response.HasField("table"):
                return _dumps(_table(response.table))
            case objects_pb2.ListResponse():
                return self._list(about, response)
        return b""

    def _list(self, about: Attributes, response: objects_pb2.ListResponse) -> bytes:
        api_version = f"{about.group}/{about.version}" if about.group else about.version
        kind = self._registry.by_plural(api_version, about.resource)
        if kind is None or response.ByteSize() > MAX_OBJECT:
            return b""
        items = [self._value(item) for item in response.items]
        meta = {"resourceVersion": response.resourceVersion, "continue": response.continueToken}
        return _dumps({"kind": f"{kind.kind}List", "apiVersion": api_version, "metadata": meta, "items": items})

    def _object(self, item: objects_pb2.Object) -> bytes:
        """An object as JSON; nothing for one that cannot be read, or that is too large for a line."""
        form = item.WhichOneof("body")
        if form == "json":
            return item.json
        return _dumps(self._value(item)) if form is not None and item.ByteSize() <= MAX_OBJECT else b""

    def _value(self, item: objects_pb2.Object) -> Any:
        if item.WhichOneof("body") == "table":
            return _table(item.table)
        return objectjson.value_of(self._registry, item.apiVersion, item.kind, item.protobuf)


def source(peer: str) -> str:
    """The address of a peer as gRPC names it: `ipv4:192.0.2.1:5000`, `ipv6:%5B2001:db8::1%5D:5000`; empty for a Unix socket."""
    scheme, _, rest = peer.partition(":")
    address = rest.rpartition(":")[0]
    return address.removeprefix("%5B").removesuffix("%5D").strip("[]") if scheme in ("ipv4", "ipv6") else ""


def _metadata(item: objects_pb2.Object, result: objects_pb2.ApplyResult) -> meta_pb2.ObjectMeta:
    """Name and namespace of an applied object: those of the result, which has them in field 1 whatever its kind."""
    try:
        if result.object.protobuf:
            return meta_pb2.PartialObjectMetadata.FromString(result.object.protobuf).metadata
        meta = codec.load_json(item.json)["metadata"]
        return meta_pb2.ObjectMeta(name=meta.get("name", ""), namespace=meta.get("namespace", ""))
    except (DecodeError, ValueError, TypeError, KeyError, AttributeError, IndexError):
        return meta_pb2.ObjectMeta()


def _delete_options(request: objects_pb2.DeleteRequest) -> dict[str, Any]:
    made: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
    if request.HasField("gracePeriodSeconds"):
        made["gracePeriodSeconds"] = request.gracePeriodSeconds
    preconditions = {"uid": request.uid, "resourceVersion": request.resourceVersion}
    if given := {name: value for name, value in preconditions.items() if value}:
        made["preconditions"] = given
    if request.propagationPolicy:
        made["propagationPolicy"] = request.propagationPolicy
    return {**made, "dryRun": ["All"]} if request.dryRun else made


def _table(table: objects_pb2.Table) -> dict[str, Any]:
    """A Table without the objects of its rows."""
    columns = [{"name": column.name, "type": column.type} for column in table.columnDefinitions]
    rows = [{"cells": [getattr(cell, cell.WhichOneof("value") or "", None) for cell in row.cells]} for row in table.rows]
    return {"kind": tables.TABLE, "apiVersion": tables.API_VERSION, "columnDefinitions": columns, "rows": rows}


def _dumps(value: Any) -> bytes:
    return b"" if value is None else json.dumps(value, separators=(",", ":")).encode()
