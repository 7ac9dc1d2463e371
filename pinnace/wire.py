"""Errors on the wire: the only place that turns `ApiError` into gRPC status and back.

The status rides as a serialised `meta.v1.Status` in the trailing metadata key `pinnace-status-bin`, so that a
client sees kind, name and every field at fault; a client that ignores it still has the gRPC code and the message.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from pinnace import errors
from pinnace.meta.v1 import meta_pb2

# Channel and server options: bytes that one stream may have sent and the peer not read. gRPC would let it grow to
# megabytes for each; this much fills 80 Mbit/s over 50 ms and any local network.
WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 512 << 10))
# Channel options of agents: a peer that does not answer is noticed after 15 seconds, also when nothing ends its connection.
KEEPALIVE = (("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", 5_000))
STATUS_KEY = "pinnace-status-bin"
# How large a status a client takes, in bytes, in the metadata of its call. gRPC refuses metadata above 8 KiB in all unless
# a channel says otherwise, and a refused status is no status.
ACCEPTS_KEY = "pinnace-accepts-status"
MAX_STATUS = 128 << 10
DEFAULT_STATUS = 5000
# What a channel and a call need for a status of MAX_STATUS, which travels as base64.
ACCEPTING_CHANNEL = (("grpc.max_metadata_size", 2 * MAX_STATUS),)
ACCEPTING_CALL = ((ACCEPTS_KEY, str(MAX_STATUS)),)
# Of a successful call: one entry for each thing that the client should know, as kube-apiserver's header Warning.
WARNING_KEY = "pinnace-warning-bin"
# All warnings of one call, in bytes.
MAX_WARNINGS = 3000
# gRPC writes each byte of a message that is not ASCII as three.
MAX_DETAILS = 700
# Room for the note that some causes are left out.
_NOTE = 200


def to_status(error: errors.ApiError, *, most: int = DEFAULT_STATUS) -> meta_pb2.Status:
    """A status of at most `most` bytes. Causes that do not fit are counted by a last one."""
    details = meta_pb2.StatusDetails(name=_cut(error.name, 253), kind=_cut(error.kind, 253))
    status = meta_pb2.Status(
        status="Failure", message=_cut(error.message, most * 2 // 5), reason=error.reason, code=error.http, details=details
    )
    room = most - status.ByteSize() - _NOTE
    for index, cause in enumerate(error.causes):
        item = meta_pb2.StatusCause(
            reason=cause.reason, message=_cut(cause.message, most // 8), field=_cut(cause.field, most // 8)
        )
        # Two bytes of tag and up to three of length around it, and the same for the list's own growth.
        room -= item.ByteSize() + 8
        if room < 0:
            status.details.causes.add(message=f"{len(error.causes) - index} more errors")
            break
        status.details.causes.append(item)
    return status


def _cut(text: str, most: int) -> str:
    """At most `most` bytes of UTF-8. A lone surrogate, which JSON can smuggle in, becomes a question mark."""
    data = text[:most].encode("utf-8", "replace")
    return data[:most].decode("utf-8", "ignore")


def from_status(status: meta_pb2.Status) -> errors.ApiError:
    causes = tuple(errors.Cause(c.field, c.message, c.reason) for c in status.details.causes)
    cls = errors.BY_REASON.get(status.reason, errors.Internal)
    return cls(status.message, kind=status.details.kind, name=status.details.name, causes=causes)


def grpc_code(error: errors.ApiError) -> grpc.StatusCode:
    code: grpc.StatusCode = grpc.StatusCode[error.grpc]
    return code


async def abort(context: Any, error: errors.ApiError) -> None:
    """End a server call with `error`. Raises: gRPC's own abort exception, always."""
    metadata = ((STATUS_KEY, to_status(error, most=_accepted(context)).SerializeToString()),)
    await context.abort(grpc_code(error), _cut(error.message, MAX_DETAILS), metadata)


def _accepted(context: Any) -> int:
    """How large a status the caller takes, in bytes."""
    for key, value in context.invocation_metadata() or ():
        if key == ACCEPTS_KEY and value.isascii() and value.isdigit() and len(value) < 10:
            return min(max(int(value), DEFAULT_STATUS), MAX_STATUS)
    return DEFAULT_STATUS


def from_rpc_error(error: grpc.RpcError) -> errors.ApiError:
    """The `ApiError` behind a failed call, of either gRPC API."""
    call: Any = error
    metadata = call.trailing_metadata() if hasattr(call, "trailing_metadata") else None
    for key, value in metadata or ():
        if key == STATUS_KEY and (status := _parsed(value)) is not None:
            return from_status(status)
    cls = errors.BY_GRPC.get(call.code().name, errors.Internal)
    return cls(call.details() or call.code().name)


def _parsed(value: bytes) -> meta_pb2.Status | None:
    """None for bytes that are no status: the code and the message of the call are used then."""
    try:
        return meta_pb2.Status.FromString(value)
    except DecodeError:
        return None


def warnings_metadata(texts: Iterable[str]) -> tuple[tuple[str, bytes], ...]:
    """Trailing metadata with the warnings that fit into MAX_WARNINGS."""
    found, size = [], 0
    for text in texts:
        data = text.encode(errors="replace")
        size += len(data)
        if size > MAX_WARNINGS:
            break
        found.append((WARNING_KEY, data))
    return tuple(found)


def warnings_of(metadata: Iterable[Any] | None) -> list[str]:
    """The warnings in the trailing metadata of a call."""
    return [bytes(value).decode(errors="replace") for key, value in metadata or () if key == WARNING_KEY]
