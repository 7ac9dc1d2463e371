"""Calls to an etcd cluster through one healthy member at a time.

A probe asks the member in use for its status every second. One that does not answer (frozen, unreachable) or knows no
leader (cut off from its peers) is left for another, and what was in progress on it ends at once. Calls of which it is known
that nothing was done are tried again on another member; a write whose outcome is unknown is not.

When the files of the client certificate change, a connection with the new one takes over from the next call on; calls in
progress end on the old one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from controlplane.store import etcd_messages_pb2 as pb
from controlplane.store.etcdtls import Credentials
from pinnace import cancellation, channels
from pinnace.errors import ApiError, TooLarge, Unavailable

log = logging.getLogger("pinnace.store")
M = TypeVar("M", bound=Message)
# Seconds. An election takes one to two; a healthy member answers a probe within milliseconds.
PROBE_EVERY, PROBE_TIMEOUT = 1.0, 2.0
# Between looks at the files of the client certificate, in seconds.
RENEW_EVERY = 10.0
# Between attempts while no member has a leader, in seconds.
RETRY_AFTER = 0.1
# etcd ends calls of a member that has no leader when they carry this.
_METADATA = (("hasleader", "true"),)
_OPTIONS = (
    # A page of items or of history may be any size; gRPC's default of 4 MiB would make it unreadable for ever.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # etcd refuses pings more often than every 5 seconds (--grpc-keepalive-min-time).
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
# etcd has no codes of its own: these texts (api/v3rpc/rpctypes) say that nothing was done.
_NOT_DONE = ("etcdserver: no leader", "failed to connect to all addresses", "etcdserver: too many requests")
_TOO_LARGE = ("request is too large", "too many operations", "larger than max")


class Member:
    """One member's channel. `cause` says why it was left, once it was."""

    def __init__(self, endpoint: str, credentials: grpc.ChannelCredentials | None) -> None:
        self.endpoint = endpoint
        self.cause = ""
        if credentials is None:
            self.channel = channels.insecure(endpoint, _OPTIONS)
        else:
            self.channel = channels.secure(endpoint, credentials, _OPTIONS)

    async def call(self, method: str, request: Message, response: type[M], seconds: float) -> M:
        """Raises grpc.aio.AioRpcError, Unavailable when the member was left meanwhile."""
        # A literal type would need etcd's service stubs; the method names are checked by every test of the backend.
        unary: Any = self.channel.unary_unary(
            f"/etcdserverpb.{method}", request_serializer=_serialized, response_deserializer=response.FromString
        )
        try:
            answer: M = await unary(request, timeout=seconds, metadata=_METADATA)
            return answer
        except asyncio.CancelledError:
            self.reraise()
            raise

    def reraise(self) -> None:
        """Closing a channel cancels its calls. Raises Unavailable unless the caller itself was cancelled."""
        if not cancellation.requested():
            raise Unavailable(f"etcd {self.endpoint}: {self.cause or 'the call was cancelled'}") from None

    async def ailment(self, seconds: float) -> str:
        """Why it should not be used; empty for a healthy member."""
        try:
            status = await self.call("Maintenance/Status", pb.StatusRequest(), pb.StatusResponse, seconds)
        except grpc.aio.AioRpcError as error:
            return _text(error)
        except Unavailable as error:
            return error.message
        return "" if status.leader else "no leader"

    async def leave(self, cause: str, grace: float | None = None) -> None:
        """`grace`: seconds that calls in progress have to end."""
        self.cause = self.cause or cause
        await self.channel.close(grace)


class EtcdClient:
    def __init__(self, endpoints: Sequence[str], *, timeout: float, credentials: Credentials | None) -> None:
        """`timeout` bounds each call, in seconds."""
        self._endpoints = list(endpoints)
        self._credentials = credentials
        self._timeout = timeout
        self._member: Member | None = None
        self._probing: asyncio.Future[None] | None = None
        self._renewing: asyncio.Future[None] | None = None
        self._moving: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def member(self) -> Member:
        """The member in use. Raises Unavailable after `close`."""
        if self._closed:
            raise Unavailable("etcd: the client is closed")
        if self._member is None:
            self._member = self._open(self._endpoints[0])
            if len(self._endpoints) > 1:
                self._probing = asyncio.ensure_future(self._probe())
            if self._credentials is not None:
                self._renewing = asyncio.ensure_future(self._renew(self._credentials))
        return self._member

    def _open(self, endpoint: str) -> Member:
        return Member(endpoint, None if self._credentials is None else self._credentials.current)

    async def call(self, method: str, request: Message, response: type[M], *, reads: bool) -> M:
        """`reads`: a call that may be repeated. Raises TooLarge, Unavailable; AioRpcError for etcd's other errors."""
        cause = "no answer in time"
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    member = self.member()
                    try:
                        return await member.call(method, request, response, self._timeout)
                    except grpc.aio.AioRpcError as error:
                        cause = f"{member.endpoint}: {_text(error)}"
                        if not (reads and _elsewhere(error)) and not _not_done(error):
                            raise _translated(member, error) from error
                    except Unavailable as error:
                        if not reads or self._closed:
                            raise
                        cause = error.message
                    await self._move(member, cause)
                    await asyncio.sleep(RETRY_AFTER)
        except TimeoutError:
            raise Unavailable(f"etcd {cause}") from None

    async def stream(self, request: pb.WatchRequest) -> AsyncGenerator[pb.WatchResponse, None]:
        """The responses of one watch. Raises Unavailable when its member fails."""
        member = self.member()
        watch: Any = member.channel.stream_stream(
            "/etcdserverpb.Watch/Watch", request_serializer=_serialized, response_deserializer=pb.WatchResponse.FromString
        )
        call = watch(metadata=_METADATA)
        try:
            await _send(call, request)
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise _translated(member, error) from error
        except asyncio.CancelledError:
            member.reraise()
            raise
        finally:
            call.cancel()
        raise Unavailable(f"etcd {member.endpoint}: the watch ended")

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(PROBE_EVERY)
            with _lasting("etcd_probe_failed"):
                member = self.member()
                cause = await member.ailment(PROBE_TIMEOUT)
                if cause:
                    await self._move(member, cause)

    async def _renew(self, credentials: Credentials) -> None:
        renewed = False
        while True:
            await asyncio.sleep(RENEW_EVERY)
            with _lasting("etcd_renewal_failed"):
                # Again until a connection with them was made.
                renewed = await asyncio.to_thread(credentials.renew) or renewed
                if renewed and self._moving is None:
                    renewed = not await self._reconnect()

    async def _reconnect(self) -> bool:
        """Whether the member in use has taken a connection with the present credentials, or was left meanwhile."""
        member = self.member()
        new = self._open(member.endpoint)
        ailment = await new.ailment(PROBE_TIMEOUT)
        if ailment or self._member is not member:
            await new.leave("not used")
            log.warning("etcd_not_reconnected endpoint=%s cause=%s", member.endpoint, ailment or "another member is used")
            return not ailment
        self._member = new
        log.info("etcd_reconnected endpoint=%s", member.endpoint)
        await member.leave("its client certificate was renewed", self._timeout)
        return True

    async def _move(self, member: Member, cause: str) -> None:
        """Use another member than `member`, unless that was done already."""
        if self._member is not member or len(self._endpoints) == 1:
            return
        if self._moving is None:
            self._moving = asyncio.ensure_future(self._replace(member, cause))
            self._moving.add_done_callback(self._moved)
        await asyncio.shield(self._moving)

    def _moved(self, done: asyncio.Future[None]) -> None:
        self._moving = None
        done.cancelled() or done.exception()

    async def _replace(self, member: Member, cause: str) -> None:
        at = self._endpoints.index(member.endpoint)
        others = [self._open(name) for name in self._endpoints[at + 1 :] + self._endpoints[:at]]
        ailments = await asyncio.gather(*(other.ailment(PROBE_TIMEOUT) for other in others))
        healthy = [other for other, ailment in zip(others, ailments, strict=True) if not ailment]
        # Without a healthy one it stays: the next probe tries again.
        left = [other for other in others if other not in healthy[:1]]
        if healthy and not self._closed:
            self._member = healthy[0]
            left.append(member)
        for each in left:
            await each.leave(cause)

    async def close(self) -> None:
        self._closed = True
        for task in (self._probing, self._renewing):
            if task is not None:
                task.cancel()
        if self._moving is not None:
            await asyncio.wait([self._moving])
        if self._member is not None:
            await self._member.leave("closed")


@contextmanager
def _lasting(event: str) -> Iterator[None]:
    """Around one round of a loop: an error is logged, and the loop continues."""
    try:
        yield
    except (Exception, asyncio.CancelledError):
        if cancellation.requested():
            raise
        log.exception(event)


async def _send(call: Any, request: Message) -> None:
    """Send the request of a stream, or return when the call ends before: then reading from it raises its status. `write` of a
    call that is cancelled while its connection is being made never returns. Raises grpc.aio.AioRpcError."""
    sent = asyncio.ensure_future(call.write(request))
    call.add_done_callback(lambda _: sent.cancel())
    try:
        await asyncio.wait([sent])
    finally:
        sent.cancel()
    if not sent.cancelled():
        sent.result()


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _text(error: grpc.aio.AioRpcError) -> str:
    code: Any = error.code()
    return str(error.details() or code.name)


def _elsewhere(error: grpc.aio.AioRpcError) -> bool:
    return error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def _not_done(error: grpc.aio.AioRpcError) -> bool:
    return error.code() == grpc.StatusCode.UNAVAILABLE and any(text in _text(error) for text in _NOT_DONE)


def _translated(member: Member, error: grpc.aio.AioRpcError) -> ApiError | grpc.aio.AioRpcError:
    text = _text(error)
    if error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED) and any(
        large in text for large in _TOO_LARGE
    ):
        return TooLarge(f"etcd: {text}")
    if error.code() == grpc.StatusCode.OUT_OF_RANGE:
        return error
    return Unavailable(f"etcd {member.endpoint}: {text}")
