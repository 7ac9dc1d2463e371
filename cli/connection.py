"""kctl's channels to the control plane, each with the certificate that the context had when it was made.

The control plane checks a certificate with each call, so a command that lasts for longer than its certificate (port-forward, an
editor, `run --rm -it`) makes a channel for the renewed one before its next call. Calls that are under way stay on theirs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from cli.contexts import Context
from pinnace import channels, pki, wire

_OPTIONS = (
    ("grpc.ssl_target_name_override", pki.SERVER_NAME),
    ("grpc.max_receive_message_length", 256 << 20),
    ("grpc.enable_retries", 0),
    # Each connection is of its own certificate.
    ("grpc.use_local_subchannel_pool", 1),
    *wire.WINDOW,
    *wire.ACCEPTING_CHANNEL,
)


def _credentials(context: Context) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(context.ca, context.key, context.certificate)


class Channel:
    """A channel for generated stubs, for threads. `context` returns the one for the next call, and raises ApiError."""

    def __init__(self, context: Callable[[], Context]) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._made: tuple[bytes, grpc.Channel] | None = None

    def _current(self) -> grpc.Channel:
        context = self._context()
        with self._lock:
            if self._made is None or self._made[0] != context.certificate:
                # An earlier one is not closed, which would end its calls: it ends with the last of them.
                made = channels.blocking(context.server, _credentials(context), _OPTIONS)
                self._made = (context.certificate, made)
            return self._made[1]

    def unary_unary(self, *words: Any, **how: Any) -> _Method:
        return _Method(lambda: self._current().unary_unary(*words, **how))

    def unary_stream(self, *words: Any, **how: Any) -> _Method:
        return _Method(lambda: self._current().unary_stream(*words, **how))

    def stream_stream(self, *words: Any, **how: Any) -> _Method:
        return _Method(lambda: self._current().stream_stream(*words, **how))

    def stream_unary(self, *words: Any, **how: Any) -> _Method:
        return _Method(lambda: self._current().stream_unary(*words, **how))

    def close(self) -> None:
        with self._lock:
            if self._made is not None:
                self._made[1].close()


class _Method:
    """A method of a stub, on the channel that each call finds."""

    def __init__(self, method: Callable[[], Any]) -> None:
        self._method = method

    def __call__(self, *words: Any, **how: Any) -> Any:
        return self._method()(*words, **how)

    def with_call(self, *words: Any, **how: Any) -> Any:
        return self._method().with_call(*words, **how)


class AioChannels:
    """The same for asyncio; the caller says when the call has ended."""

    def __init__(self, context: Callable[[], Context]) -> None:
        self._context = context
        self._current: _Shared | None = None

    @asynccontextmanager
    async def use(self) -> AsyncIterator[grpc.aio.Channel]:
        """A channel for one call, or several that belong together. Raises ApiError."""
        # In a thread: a renewal asks the control plane.
        context = await asyncio.to_thread(self._context)
        if self._current is None or self._current.certificate != context.certificate:
            earlier, made = self._current, channels.secure(context.server, _credentials(context), _OPTIONS)
            self._current = _Shared(context.certificate, made)
            if earlier is not None:
                await earlier.retire()
        shared = self._current
        shared.users += 1
        try:
            yield shared.channel
        finally:
            shared.users -= 1
            await shared.close_unused()

    async def close(self) -> None:
        """With the calls that are under way."""
        if self._current is not None:
            await self._current.channel.close()


class _Shared:
    """A channel and how many use it; once retired it is closed with the last of them."""

    def __init__(self, certificate: bytes, channel: grpc.aio.Channel) -> None:
        self.certificate = certificate
        self.channel = channel
        self.users = 0
        self._retired = False

    async def retire(self) -> None:
        self._retired = True
        await self.close_unused()

    async def close_unused(self) -> None:
        if self._retired and not self.users:
            await self.channel.close()
