"""Around every RPC: who calls, may they, what does a failure become on the wire, and how long did it take.

An interceptor of grpc.aio sees no peer, so it replaces each handler by one that looks before it calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from controlplane import metrics
from controlplane.api import identity
from pinnace import wire
from pinnace.clock import perf
from pinnace.errors import ApiError, Internal

log = logging.getLogger("pinnace.api")


class Guard(grpc.aio.ServerInterceptor):
    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        return _guarded(handler, handler_call_details.method)


def _guarded(handler: Any, method: str) -> grpc.RpcMethodHandler[Any, Any]:
    coders = {"request_deserializer": handler.request_deserializer, "response_serializer": handler.response_serializer}
    if handler.unary_unary:
        return grpc.unary_unary_rpc_method_handler(_unary(handler.unary_unary, method), **coders)
    if handler.unary_stream:
        return grpc.unary_stream_rpc_method_handler(_stream(handler.unary_stream, method), **coders)
    if handler.stream_unary:
        return grpc.stream_unary_rpc_method_handler(_unary(handler.stream_unary, method), **coders)
    return grpc.stream_stream_rpc_method_handler(_stream(handler.stream_stream, method), **coders)


def _unary(behavior: Any, method: str) -> Any:
    async def call(request: Any, context: Any) -> Any:
        start, code = perf(), "OK"
        try:
            identity.authorize(identity.of_call(context), method)
            return await behavior(request, context)
        except Exception as error:
            failure = _translate(error, method)
            code = failure.grpc
            await wire.abort(context, failure)
        finally:
            metrics.observe_call(method, code, perf() - start)

    return call


def _stream(behavior: Any, method: str) -> Any:
    async def call(request: Any, context: Any) -> AsyncIterator[Any]:
        code = "OK"
        try:
            identity.authorize(identity.of_call(context), method)
            result = behavior(request, context)
            if hasattr(result, "__aiter__"):
                async for response in result:
                    yield response
            else:
                await result
        except Exception as error:
            failure = _translate(error, method)
            code = failure.grpc
            await wire.abort(context, failure)
        finally:
            metrics.count_stream(method, code)

    return call


def _translate(error: Exception, method: str) -> ApiError:
    """Raises what is not an error of the call: gRPC's own abort and cancellation."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, (grpc.aio.AbortError, asyncio.CancelledError)):
        raise error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            if isinstance(inner, ApiError):
                return inner
    log.error("rpc_failed method=%s", method, exc_info=error)
    return Internal(f"internal error in {method}: {type(error).__name__}")
