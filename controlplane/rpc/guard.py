"""Around every RPC: who calls, may they, what does a failure become on the wire, and how long did it take.

An interceptor of grpc.aio sees no peer, so it replaces each handler by one that looks before it calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Protocol

import grpc
from google.protobuf.message import DecodeError

from controlplane import metrics
from controlplane.access import identity
from controlplane.access.attributes import Attributes
from controlplane.requests import wirevalues
from controlplane.rpc.auditing import Call
from controlplane.rpc.permissions import calling
from pinnace import wire
from pinnace.clock import perf
from pinnace.errors import ApiError, BadRequest, Forbidden, Internal
from pinnace.fielderrors import quoted

log = logging.getLogger("pinnace.api")
# The service for agents, which acts for the caller's own node alone.
_NODES = "pinnace.api.v1.Nodes"
# Services of which each method asks for permission, and those that show nothing of the cluster's objects.
_OPEN = (
    "pinnace.api.v1.Objects", "pinnace.api.v1.Streams", "pinnace.api.v1.Cluster", "pinnace.api.v1.Access",
    "pinnace.api.v1.Timeline",
    "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection",
)  # fmt: skip
_UNREADABLE = "the request cannot be read: broken protobuf, text that is not UTF-8, or too many messages in one"
# Bytes of a message that is counted before it is decoded, and how many others it may hold. A report on 500 pods holds some
# 30,000.
LARGE, MAX_MESSAGES = 256 << 10, 50_000


class Authenticator(Protocol):
    """Whether the certificate of a call is good, when it begins and while it is open."""

    def of_call(self, context: Any) -> identity.Identity:
        """Who calls. Raises Unauthenticated."""

    def open(self, caller: identity.Identity, /) -> AbstractAsyncContextManager[None]:
        """Around a streaming call. Raises Unauthenticated when the certificate is revoked meanwhile."""


# Told of each call when it ends.
Told = Callable[[Call], None]


class Guard(grpc.aio.ServerInterceptor):
    def __init__(self, authenticator: Authenticator, told: Told | None = None) -> None:
        self._authenticator = authenticator
        self._told = told

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        return _guarded(handler, handler_call_details.method, self._authenticator, self._told)


def _guarded(handler: Any, method: str, auth: Authenticator, told: Told | None) -> grpc.RpcMethodHandler[Any, Any]:
    read = _bounded(handler.request_deserializer)
    coders = {
        "request_deserializer": read, "response_serializer": _writing(handler.response_serializer),
    }  # fmt: skip
    if not handler.request_streaming:
        coders["request_deserializer"] = _reading(read)
    if handler.unary_unary:
        return grpc.unary_unary_rpc_method_handler(_unary(handler.unary_unary, method, auth, told), **coders)
    if handler.unary_stream:
        return grpc.unary_stream_rpc_method_handler(_stream(handler.unary_stream, method, auth, told), **coders)
    if handler.stream_unary:
        return grpc.stream_unary_rpc_method_handler(_unary(handler.stream_unary, method, auth, told), **coders)
    return grpc.stream_stream_rpc_method_handler(_stream(handler.stream_stream, method, auth, told), **coders)


def _bounded(deserialize: Any) -> Callable[[bytes], Any]:
    """Reads messages, but no large ones that hold too many others. Raises DecodeError."""
    descriptor = deserialize.__self__.DESCRIPTOR

    def read(data: bytes) -> Any:
        if len(data) > LARGE:
            try:
                many = wirevalues.exceeds(descriptor, data, MAX_MESSAGES)
            except wirevalues.Unreadable:
                raise DecodeError("broken protobuf") from None
            if many:
                raise DecodeError(f"more than {MAX_MESSAGES} messages in one")
        return deserialize(data)

    return read


class _Unreadable:
    """Stands for a request whose bytes are no message of its type. gRPC itself would answer UNKNOWN and log a traceback."""


def _reading(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return _Unreadable()

    return read


def _writing(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Responses that a handler has serialized itself go as they are."""

    def write(response: Any) -> bytes:
        return response if isinstance(response, bytes) else serialize(response)

    return write


def _unary(behavior: Any, method: str, auth: Authenticator, told: Told | None) -> Any:
    async def call(request: Any, context: Any) -> Any:
        start, code, caller, response = perf(), "OK", None, None
        asked, peer = list[Attributes](), context.peer()
        try:
            caller = auth.of_call(context)
            _check_service(caller, method)
            _check(request)
            with calling(caller, asked):
                response = await behavior(request, context)
                return response
        except Exception as error:
            failure = _translate(error, method)
            code = failure.grpc
            await wire.abort(context, failure)
        finally:
            metrics.observe_call(method, code, perf() - start)
            if told is not None:
                told(Call(method, caller, peer, start, code, asked, request, response))

    return call


def _stream(behavior: Any, method: str, auth: Authenticator, told: Told | None) -> Any:
    async def call(request: Any, context: Any) -> AsyncIterator[Any]:
        start, code, caller = perf(), "OK", None
        asked, peer = list[Attributes](), context.peer()
        try:
            caller = auth.of_call(context)
            _check_service(caller, method)
            with calling(caller, asked):
                async with auth.open(caller):
                    _check(request)
                    result = behavior(request, context)
                    if hasattr(result, "__aiter__"):
                        async with aclosing(result):
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
            if told is not None:
                told(Call(method, caller, peer, start, code, asked))

    return call


def _check_service(caller: identity.Identity, method: str) -> None:
    """Raises Forbidden for a service that the caller has nothing to do with. The services check the rest, on attributes."""
    service = method.split("/")[1] if method.count("/") == 2 else method
    if service == _NODES and not caller.node:
        raise Forbidden(f"User {quoted(caller.user)} is no node: only a node's agent may call {method}")
    if service not in (_NODES, *_OPEN):
        raise Forbidden(f"User {quoted(caller.user)} may not call {method}")


def _check(request: Any) -> None:
    """Raises BadRequest."""
    if isinstance(request, _Unreadable):
        raise BadRequest(_UNREADABLE)


def _translate(error: Exception, method: str) -> ApiError:
    """Raises what is not an error of the call: gRPC's own abort and cancellation."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, DecodeError):
        # Of a stream's message, which is read while the call runs.
        return BadRequest(_UNREADABLE)
    if isinstance(error, (grpc.aio.AbortError, asyncio.CancelledError)):
        raise error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            if isinstance(inner, ApiError):
                return inner
    log.error("rpc_failed method=%s", method, exc_info=error)
    return Internal(f"internal error in {method}: {type(error).__name__}")
