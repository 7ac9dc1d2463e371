"""Frames through bounded queues: the few moves that every stream of the agent is made of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, Protocol

import grpc

from pinnace.api.v1 import streams_pb2

log = logging.getLogger("pinnace.streams")
Frame = streams_pb2.Frame
CHUNK = 32 << 10
# Frames in flight in each direction. A full queue blocks its writer.
DEPTH = 16


class Handler(Protocol):
    """One kind of stream. Raises ApiError, or `Ended` with an exit code; returning is exit code 0."""

    async def __call__(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None: ...


class Ended(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


async def drain(queue: asyncio.Queue[Any]) -> AsyncIterator[Any]:
    while (frame := await queue.get()) is not None:
        yield frame
    # The next reader sees the end too.
    queue.put_nowait(None)


async def pump(call: Any, queue: asyncio.Queue[Any]) -> None:
    """The frames of a call into a queue, then None, whether the call ended well or not."""
    try:
        async for frame in call:
            await queue.put(frame)
    except grpc.aio.AioRpcError as error:
        log.info("stream_lost code=%s", error.code().name)
    finally:
        while queue.full():
            queue.get_nowait()
        queue.put_nowait(None)


async def say(queue: asyncio.Queue[Any], *frames: Any) -> None:
    for frame in frames:
        await queue.put(frame)


async def exhaust(frames: AsyncIterator[Any]) -> None:
    async for _ in frames:
        pass
