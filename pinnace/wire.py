"""Errors on the wire: the only place that turns `ApiError` into gRPC status and back.

The status rides as a serialised `meta.v1.Status` in the trailing metadata key `pinnace-status-bin`, so that a
client sees kind, name and every field at fault; a client that ignores it still has the gRPC code and the message.
"""

from __future__ import annotations

from typing import Any

import grpc

from pinnace import errors
from pinnace.meta.v1 import meta_pb2

# Channel and server options: what one stream may have sent that nobody has read yet, in bytes. gRPC would let it grow to
# megabytes for each; this much fills 80 Mbit/s over 50 ms and any local network.
WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 512 << 10))
STATUS_KEY = "pinnace-status-bin"
# gRPC refuses metadata above 8 KiB in all, and writes each byte of a message that is not ASCII as three. So a status
# is cut by its size in bytes; its message says the first causes.
MAX_STATUS = 5000
MAX_MESSAGE = 2000
MAX_DETAILS = 700


def to_status(error: errors.ApiError) -> meta_pb2.Status:
    details = meta_pb2.StatusDetails(name=_cut(error.name, 253), kind=_cut(error.kind, 253))
    status = meta_pb2.Status(
        status="Failure", message=_cut(error.message, MAX_MESSAGE), reason=error.reason, code=error.http, details=details
    )
    room = MAX_STATUS - status.ByteSize()
    for cause in error.causes:
        item = meta_pb2.StatusCause(reason=cause.reason, message=_cut(cause.message, 200), field=_cut(cause.field, 200))
        # Two bytes of tag and two of length around it, and the same for the list's own growth.
        room -= item.ByteSize() + 4
        if room < 0:
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
    metadata = ((STATUS_KEY, to_status(error).SerializeToString()),)
    await context.abort(grpc_code(error), _cut(error.message, MAX_DETAILS), metadata)


def from_rpc_error(error: grpc.RpcError) -> errors.ApiError:
    """The `ApiError` behind a failed call, of either gRPC API."""
    call: Any = error
    metadata = call.trailing_metadata() if hasattr(call, "trailing_metadata") else None
    for key, value in metadata or ():
        if key == STATUS_KEY:
            return from_status(meta_pb2.Status.FromString(value))
    cls = errors.BY_GRPC.get(call.code().name, errors.Internal)
    return cls(call.details() or call.code().name)
