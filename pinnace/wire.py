"""Errors on the wire: the only place that turns `ApiError` into gRPC status and back.

The status rides as a serialised `meta.v1.Status` in the trailing metadata key `pinnace-status-bin`, so that a
client sees kind, name and every field at fault; a client that ignores it still has the gRPC code and the message.
"""

from __future__ import annotations

from typing import Any

import grpc

from pinnace import errors
from pinnace.meta.v1 import meta_pb2

STATUS_KEY = "pinnace-status-bin"
# gRPC refuses metadata above 8 KiB in all; a status with very many causes is cut, its message says the first ones.
MAX_CAUSES = 20
MAX_MESSAGE = 2000


def to_status(error: errors.ApiError) -> meta_pb2.Status:
    details = meta_pb2.StatusDetails(name=error.name[:253], kind=error.kind)
    for cause in error.causes[:MAX_CAUSES]:
        details.causes.add(reason=cause.reason, message=cause.message[:200], field=cause.field[:200])
    return meta_pb2.Status(
        status="Failure", message=error.message[:MAX_MESSAGE], reason=error.reason, code=error.http, details=details
    )


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
    await context.abort(grpc_code(error), error.message[:MAX_MESSAGE], metadata)


def from_rpc_error(error: grpc.RpcError) -> errors.ApiError:
    """The `ApiError` behind a failed call, of either gRPC API."""
    call: Any = error
    metadata = call.trailing_metadata() if hasattr(call, "trailing_metadata") else None
    for key, value in metadata or ():
        if key == STATUS_KEY:
            return from_status(meta_pb2.Status.FromString(value))
    cls = errors.BY_GRPC.get(call.code().name, errors.Internal)
    return cls(call.details() or call.code().name)
