"""Calls to the control plane: a synchronous channel, whose failures are `ApiError`s."""

from __future__ import annotations

import builtins
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.message import DecodeError

# gRPC's C core prints on stderr what is in the error that it raises too. It reads this once, when it is imported;
# processes that kctl starts keep the setting that the user gave.
_VERBOSITY = "GRPC_VERBOSITY"
_given = os.environ.setdefault(_VERBOSITY, "")
os.environ[_VERBOSITY] = _given or "NONE"
import grpc  # noqa: E402

if not _given:
    del os.environ[_VERBOSITY]
from cli import complaints  # noqa: E402
from cli.connection import AioChannels, Channel  # noqa: E402
from cli.contexts import Context  # noqa: E402
from pinnace import kinds, wire  # noqa: E402
from pinnace.api.v1 import objects_pb2, objects_pb2_grpc  # noqa: E402
from pinnace.errors import ApiError, Expired, Internal, Unavailable  # noqa: E402
from pinnace.kinds import Kind  # noqa: E402

# Python's gRPC and asyncio log the tracebacks of errors that they raise or that nothing waits for.
if not os.environ.get("PINNACE_DEBUG"):
    logging.getLogger().addHandler(logging.NullHandler())

# The owner of applied fields; other commands own what they write as `kctl-COMMAND`.
MANAGER = "kctl"
_IMPERATIVE = (
    "create", "replace", "patch", "debug", "cordon", "drain", "scale", "label", "annotate", "autoscale", "taint", "edit", "run",
    "rollout", "set", "expose",
)  # fmt: skip
# Earlier versions cordoned and debugged under the name of apply.
SUPERSEDED = (MANAGER, *(f"{MANAGER}-{command}" for command in _IMPERATIVE))
# Rows of a page of a table, as kubectl asks for.
PAGE = 500
# Seconds for one call; streams have none.
DEADLINE = 30.0


class Client:
    def __init__(self, context: Context, fresh: Callable[[], Context] | None = None) -> None:
        """`fresh` returns `context` with the certificate for the next call, and raises ApiError; none: always this one."""
        self.context = context
        self.fresh = fresh or (lambda: context)
        self.channel = Channel(self.fresh)
        self.objects = objects_pb2_grpc.ObjectsStub(self.channel)

    def aio_channels(self) -> AioChannels:
        """Of their own, for asyncio."""
        return AioChannels(self.fresh)

    def call(self, method: Callable[..., Any], request: Any, *, timeout: float | None = DEADLINE) -> Any:
        """A unary call. Raises ApiError."""
        try:
            found, call = method.with_call(request, timeout=timeout, metadata=wire.ACCEPTING_CALL)  # type: ignore[attr-defined]
        except grpc.RpcError as error:
            raise self._explain(error) from None
        for text in wire.warnings_of(call.trailing_metadata()):
            complaints.report(f"Warning: {text}")
        if found is None:
            raise Internal("the control plane ended the call without a reply")
        return found

    def now(self) -> float:
        """The control plane's time in seconds since the epoch, which objects have: a lab's may be ahead. One call. Raises
        ApiError."""
        from pinnace.api.v1 import cluster_pb2, cluster_pb2_grpc

        found = self.call(cluster_pb2_grpc.ClusterStub(self.channel).Version, cluster_pb2.VersionRequest()).clock.now
        # Earlier control planes do not tell theirs.
        return float(found) or time.time()

    def stream(self, method: Callable[..., Any], request: Any, *, timeout: float | None = None) -> Iterator[Any]:
        """A call that answers with a stream. Raises ApiError while it is read."""
        call = method(request, timeout=timeout, metadata=wire.ACCEPTING_CALL)
        try:
            yield from call
        except grpc.RpcError as error:
            raise self._explain(error) from None
        finally:
            call.cancel()

    def _explain(self, error: grpc.RpcError) -> ApiError:
        translated = wire.from_rpc_error(error)
        if not isinstance(translated, Unavailable) or "failed to connect" not in translated.message:
            return translated
        server = self.context.server
        if "SSL" in translated.message or "andshake" in translated.message:
            return Unavailable(
                f"cannot reach the control plane at {server}: the TLS handshake failed. Its certificate is not from the CA "
                f'of context "{self.context.name}", or it does not accept the client certificate'
            )
        name = self.context.name.removeprefix("lab-")
        look = f" (kctl lab start --name {name} resumes the lab)" if name != self.context.name else ""
        return Unavailable(f"cannot reach the control plane at {server}: is it running?{look}")

    def get(self, kind: Kind, namespace: str, name: str, *, subresource: str = "") -> Any:
        """One object, or a part of it in the form of `form`. Raises NotFound."""
        request = objects_pb2.GetRequest(ref=ref(kind, namespace, name), subresource=subresource)
        return opened(form(kind, subresource), self.call(self.objects.Get, request).protobuf)

    def list(self, kind: Kind, namespace: str, *, labels: str = "", fields: str = "") -> list[Any]:
        """All pages, of one revision."""
        request = objects_pb2.ListRequest(ref=ref(kind, namespace), labelSelector=labels, fieldSelector=fields)
        return [opened(kind, item.protobuf) for page in self._pages(request) for item in page.items]

    def _pages(self, request: objects_pb2.ListRequest) -> builtins.list[objects_pb2.ListResponse]:
        pages: list[objects_pb2.ListResponse] = []
        while True:
            try:
                pages.append(self.call(self.objects.List, request))
            except Expired:
                if not request.continueToken:
                    raise
                # The list has changed so much that its revision is gone: from the start.
                pages, request.continueToken = [], ""
                continue
            request.continueToken = pages[-1].continueToken
            if not request.continueToken:
                return pages

    def get_table(
        self, kind: Kind, namespace: str, name: str, options: objects_pb2.TableOptions, *, subresource: str = ""
    ) -> objects_pb2.Table:
        """One object, or a part of it, as a table. Raises NotFound."""
        request = objects_pb2.GetRequest(ref=ref(kind, namespace, name), table=options, subresource=subresource)
        found: objects_pb2.Table = self.call(self.objects.Get, request).table
        return found

    def list_tables(
        self, kind: Kind, namespace: str, options: objects_pb2.TableOptions, *, labels: str = "", fields: str = ""
    ) -> builtins.list[objects_pb2.Table]:
        """All pages, of one revision."""
        request = objects_pb2.ListRequest(
            ref=ref(kind, namespace), labelSelector=labels, fieldSelector=fields, limit=PAGE, table=options
        )
        return [page.table for page in self._pages(request)]

    def discover(self) -> builtins.list[objects_pb2.ServedResource]:
        """All kinds that are served, in all versions."""
        return list(self.call(self.objects.Discover, objects_pb2.DiscoverRequest()).resources)

    def watch(
        self, kind: Kind, namespace: str, *, name: str = "", labels: str = "", fields: str = "", timeout: float | None = None
    ) -> Iterator[tuple[str, Any]]:
        """("ADDED" | "MODIFIED" | "DELETED", object), the present ones first, then ("BOOKMARK", None) once."""
        request = objects_pb2.WatchRequest(ref=ref(kind, namespace, name), labelSelector=labels, fieldSelector=fields)
        for type_, item in self._events(request, timeout):
            yield type_, opened(kind, item.protobuf) if type_ != "BOOKMARK" else None

    def watch_tables(
        self, kind: Kind, namespace: str, options: objects_pb2.TableOptions, *, name: str = "", labels: str = "",
        fields: str = "",
    ) -> Iterator[tuple[str, Any]]:  # fmt: skip
        """As `watch`, with a table of one row for each object; the first one has the columns."""
        request = objects_pb2.WatchRequest(
            ref=ref(kind, namespace, name), labelSelector=labels, fieldSelector=fields, table=options
        )
        for type_, item in self._events(request, None):
            yield type_, item.table if type_ != "BOOKMARK" else None

    def _events(self, request: objects_pb2.WatchRequest, timeout: float | None) -> Iterator[tuple[str, objects_pb2.Object]]:
        for response in self.stream(self.objects.Watch, request, timeout=timeout):
            for event in response.events:
                if event.type not in objects_pb2.WatchEvent.Type.values():
                    raise Internal(f"the control plane sent an event of unknown type {event.type}")
                yield objects_pb2.WatchEvent.Type.Name(event.type), event.object


def form(kind: Kind, subresource: str) -> Kind:
    """The kind as which a part of an object is read and written: of most parts the object's own."""
    return kinds.SCALE if subresource == "scale" else kind


def opened(kind: Kind, data: bytes) -> Any:
    """The object in a reply. Raises Internal for bytes that are none."""
    try:
        return kind.cls.FromString(data)
    except DecodeError:
        raise Internal(f"the control plane's reply is not a {kind.kind}: is it of the same version? (kctl version)") from None


def manager(command: str) -> str:
    """The field manager of a command that creates or patches."""
    assert command in _IMPERATIVE, command
    return f"{MANAGER}-{command}"


def ref(kind: Kind, namespace: str, name: str = "") -> objects_pb2.Reference:
    return objects_pb2.Reference(
        apiVersion=kind.api_version, kind=kind.kind, namespace=namespace if kind.namespaced else "", name=name
    )
