"""One TCP connection to a port of a pod, which the pod's agent makes: bytes in both directions, each with back-pressure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from controlplane.rest.streams.interface import CHUNK, NodeStream
from pinnace.api.v1 import streams_pb2
from pinnace.errors import ApiError, Timeout, TooManyRequests, Unavailable

Frame = streams_pb2.Frame


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Durations in seconds.

    `take`: for the pod to take 32 KiB of a request. `head`: for its response to begin, once it has the whole request.
    `silence`: between two pieces of its response."""

    take: float = 60.0
    head: float = 60.0
    silence: float = 3600.0


class PodConnection:
    """One task reads, one writes."""

    def __init__(self, stream: NodeStream, times: Timeouts) -> None:
        self._times = times
        # The router takes frames only when the agent has room for them.
        self._outgoing: asyncio.Queue[streams_pb2.Frame] = asyncio.Queue(2)
        self._frames = stream.begin(self._drain())
        self._ended = False

    async def _drain(self) -> AsyncIterator[streams_pb2.Frame]:
        # The end of these frames means nothing to the router; closing the stream does.
        while True:
            yield await self._outgoing.get()

    async def write(self, data: bytes) -> None:
        """Raises Timeout when the pod does not take it."""
        for start in range(0, len(data), CHUNK):
            try:
                async with asyncio.timeout(self._times.take):
                    await self._outgoing.put(Frame(stdin=data[start : start + CHUNK]))
            except TimeoutError:
                raise Timeout("error trying to reach service: the pod does not read the request") from None

    async def read(self) -> bytes:
        """The next bytes, b"" at their end. Raises ApiError for a connection that could not be made, or was lost."""
        while not self._ended:
            frame = await self._frame()
            if frame is None:
                raise Unavailable("error trying to reach service: lost connection to the node's agent")
            match frame.WhichOneof("frame"):
                case "stdout":
                    return bytes(frame.stdout)
                case "stdoutClosed":
                    self._ended = True
                case "exit":
                    raise _failure(frame.exit)
        return b""

    async def _frame(self) -> streams_pb2.Frame | None:
        try:
            async with asyncio.timeout(self._times.silence):
                return await anext(self._frames, None)
        except TimeoutError:
            raise Timeout(f"the pod has sent nothing for {self._times.silence:.0f} s") from None
        except ApiError as error:
            raise _unreachable(error) from None

    async def close(self) -> None:
        """No task may read or write any more."""
        await self._frames.aclose()


def _failure(exit_: streams_pb2.Exit) -> ApiError:
    message = exit_.message or "the connection was closed"
    if exit_.reason == TooManyRequests.reason:
        return TooManyRequests(message, retry_after=1)
    return Unavailable(f"error trying to reach service: {message}")


def _unreachable(error: ApiError) -> ApiError:
    if isinstance(error, TooManyRequests):
        return error
    return Unavailable(f"error trying to reach service: {error.message}")
