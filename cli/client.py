"""Calls to the control plane: a synchronous channel, whose failures are `ApiError`s."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from cli.contexts import Context
from pinnace import pki, wire
from pinnace.api.v1 import objects_pb2, objects_pb2_grpc
from pinnace.errors import ApiError, Unavailable
from pinnace.kinds import Kind

MANAGER = "kctl"
# Seconds for one call; streams have none.
DEADLINE = 30.0
_OPTIONS = (
    ("grpc.ssl_target_name_override", pki.SERVER_NAME),
    ("grpc.max_receive_message_length", 256 << 20),
    ("grpc.enable_retries", 0),
    *wire.WINDOW,
)


class Client:
    def __init__(self, context: Context) -> None:
        self.context = context
        credentials = grpc.ssl_channel_credentials(context.ca, context.key, context.certificate)
        self.channel = grpc.secure_channel(context.server.replace("unix://", "unix:"), credentials, options=_OPTIONS)
        self.objects = objects_pb2_grpc.ObjectsStub(self.channel)

    def aio_channel(self) -> Any:
        """A channel of its own, for asyncio."""
        context = self.context
        credentials = grpc.ssl_channel_credentials(context.ca, context.key, context.certificate)
        return grpc.aio.secure_channel(context.server.replace("unix://", "unix:"), credentials, options=_OPTIONS)

    def call(self, method: Callable[..., Any], request: Any, *, timeout: float | None = DEADLINE) -> Any:
        """A unary call. Raises ApiError."""
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            raise self._explain(error) from None

    def stream(self, method: Callable[..., Any], request: Any, *, timeout: float | None = None) -> Iterator[Any]:
        """A call that answers with a stream. Raises ApiError while it is read."""
        call = method(request, timeout=timeout)
        try:
            yield from call
        except grpc.RpcError as error:
            raise self._explain(error) from None
        finally:
            call.cancel()

    def _explain(self, error: grpc.RpcError) -> ApiError:
        translated = wire.from_rpc_error(error)
        if isinstance(translated, Unavailable) and "failed to connect" in translated.message:
            name = self.context.name.removeprefix("lab-")
            look = f" (kctl lab status --name {name} shows)" if name != self.context.name else ""
            return Unavailable(f"cannot reach the control plane at {self.context.server}: is it running?{look}")
        return translated

    def get(self, kind: Kind, namespace: str, name: str) -> Any:
        """One object. Raises NotFound."""
        found = self.call(self.objects.Get, objects_pb2.GetRequest(ref=ref(kind, namespace, name)))
        return kind.cls.FromString(found.protobuf)

    def list(self, kind: Kind, namespace: str, *, labels: str = "", fields: str = "") -> list[Any]:
        request = objects_pb2.ListRequest(ref=ref(kind, namespace), labelSelector=labels, fieldSelector=fields)
        found = self.call(self.objects.List, request)
        return [kind.cls.FromString(item.protobuf) for item in found.items]

    def watch(
        self,
        kind: Kind,
        namespace: str,
        *,
        name: str = "",
        labels: str = "",
        fields: str = "",
        timeout: float | None = None,
    ) -> Iterator[tuple[str, Any]]:
        """("ADDED" | "MODIFIED" | "DELETED", object), the present ones first, then ("BOOKMARK", None) once."""
        request = objects_pb2.WatchRequest(ref=ref(kind, namespace, name), labelSelector=labels, fieldSelector=fields)
        for response in self.stream(self.objects.Watch, request, timeout=timeout):
            for event in response.events:
                type_ = objects_pb2.WatchEvent.Type.Name(event.type)
                yield type_, kind.cls.FromString(event.object.protobuf) if type_ != "BOOKMARK" else None


def ref(kind: Kind, namespace: str, name: str = "") -> objects_pb2.Reference:
    return objects_pb2.Reference(
        apiVersion=kind.api_version, kind=kind.kind, namespace=namespace if kind.namespaced else "", name=name
    )
