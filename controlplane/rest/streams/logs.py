"""A container's log as bytes, for the body of a response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from controlplane.rest.streams.interface import NodeStream
from pinnace import errors
from pinnace.api.v1 import streams_pb2
from pinnace.errors import ApiError, Internal

Frames = AsyncGenerator[streams_pb2.Frame, None]
# Seconds until a log that has no bytes yet counts as begun.
BEGIN_WITHIN = 0.5


async def read(stream: NodeStream) -> AsyncGenerator[bytes, None]:
    """Chunks of at most 32 KiB. The first is empty, and means that the node has not refused.

    Raises ApiError before it, and ConnectionAbortedError when the log is cut later."""
    async with aclosing(stream.begin(None)) as frames:
        first = asyncio.ensure_future(anext(frames, None))
        try:
            if (await asyncio.wait((first,), timeout=BEGIN_WITHIN))[0]:
                _check(first.result())
            yield b""
            async with aclosing(_bytes(first, frames)) as pieces:
                async for data in pieces:
                    yield data
        finally:
            # A generator that runs cannot be closed.
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)


async def _bytes(first: asyncio.Future[streams_pb2.Frame | None], following: Frames) -> AsyncGenerator[bytes, None]:
    """Raises ConnectionAbortedError."""
    last: streams_pb2.Frame | None = None
    try:
        frame = await first
        while frame is not None:
            if frame.HasField("stdout"):
                yield frame.stdout
            last, frame = frame, await anext(following, None)
        _check(last if last is not None and last.HasField("exit") else None)
    except ApiError as error:
        raise ConnectionAbortedError(error.message) from error


def _check(frame: streams_pb2.Frame | None) -> None:
    """Raises ApiError for the end of a stream that failed, or for none at all."""
    if frame is None:
        raise Internal("lost connection to the node's agent")
    if frame.HasField("exit") and frame.exit.message:
        raise errors.BY_REASON.get(frame.exit.reason, Internal)(frame.exit.message)
