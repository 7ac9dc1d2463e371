"""One forwarded connection between a client and a port of a pod, whatever carries the client's side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from controlplane.rest.streams.interface import CHUNK, NodeStream
from pinnace.api.v1 import streams_pb2
from pinnace.errors import ApiError

Frame = streams_pb2.Frame


class PortClient(Protocol):
    """The client's side of one connection. All raise OSError when the client has gone."""

    async def read(self) -> bytes:
        """The next bytes for the port, b"" at their end."""

    async def write(self, data: bytes) -> None:
        """Bytes of the port."""

    async def finish(self) -> None:
        """The port sends no more; it may still read."""


async def forward(pod: NodeStream, port: int, client: PortClient) -> str:
    """Carry one connection to its end; returns why it failed, or an empty text. Raises OSError.

    `pod` has the opening of the pod, which is not changed."""
    opening = streams_pb2.OpenStream()
    opening.CopyFrom(pod.opening)
    opening.portForward.port = port
    ended: streams_pb2.Exit | None = None
    try:
        async with aclosing(replace(pod, opening=opening).begin(_frames(client))) as frames:
            async for frame in frames:
                match frame.WhichOneof("frame"):
                    case "stdout":
                        await client.write(frame.stdout)
                    case "stdoutClosed":
                        await client.finish()
                    case "exit":
                        ended = frame.exit
    except ApiError as error:
        return _failure(port, opening.pod, error.message)
    return _failure(port, opening.pod, "lost connection to the node's agent" if ended is None else ended.message)


async def _frames(client: PortClient) -> AsyncIterator[streams_pb2.Frame]:
    while data := await client.read():
        for start in range(0, len(data), CHUNK):
            yield Frame(stdin=data[start : start + CHUNK])
    yield Frame(stdinClosed=True)
    # The end of these frames means nothing to the router; closing the stream does.
    await asyncio.get_running_loop().create_future()


def _failure(port: int, pod: str, message: str) -> str:
    """As the kubelet writes it."""
    return f"error forwarding port {port} to pod {pod}: {message}" if message else ""
