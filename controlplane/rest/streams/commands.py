"""exec and attach between a client and a node, whatever carries the client's side: frames in, output and a Status out."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol

from controlplane.rest.streams import status
from controlplane.rest.streams.interface import CHUNK, NodeStream
from controlplane.rest.streams.options import CommandOptions
from pinnace.api.v1 import streams_pb2
from pinnace.errors import ApiError, Internal

Frame = streams_pb2.Frame
# Frames of input that wait for the node.
DEPTH = 4
# Bytes of a resize that is not complete; one has about 30.
MAX_RESIZE = 1 << 10
MAX_SIZE = 0xFFFF


class CommandClient(Protocol):
    """The client's side, once its streams are there."""

    async def output(self, stream: str, data: bytes) -> None:
        """`stream` is stdout or stderr, and was asked for. Raises OSError when the client has gone."""

    async def end(self, ended: dict[str, Any]) -> None:
        """The Status, and the end of all streams. Raises OSError when the client has gone."""


class CommandInput:
    """What the client sends, as frames for the node. Adding waits while the node takes nothing."""

    def __init__(self, options: CommandOptions) -> None:
        self._options = options
        self._queue: asyncio.Queue[streams_pb2.Frame] = asyncio.Queue(DEPTH)
        self._resizes = ResizeDecoder()
        # The client has closed its input, and the command has ended.
        self._closed = self._ended = False

    def end(self) -> None:
        """The command has ended: drop what waits and what comes, so that the client is read until it closes."""
        self._closed = self._ended = True
        while not self._queue.empty():
            self._queue.get_nowait()

    async def stdin(self, data: bytes) -> None:
        for start in range(0, len(data), CHUNK) if self._options.stdin else ():
            if not self._closed:
                await self._queue.put(Frame(stdin=data[start : start + CHUNK]))

    async def close_stdin(self) -> None:
        if self._options.stdin and not self._closed:
            self._closed = True
            await self._queue.put(Frame(stdinClosed=True))

    async def resize(self, data: bytes) -> None:
        for columns, rows in self._resizes.feed(data) if self._options.tty and not self._ended else ():
            await self._queue.put(Frame(resize=streams_pb2.TerminalSize(columns=columns, rows=rows)))

    async def frames(self) -> AsyncIterator[streams_pb2.Frame]:
        while True:
            yield await self._queue.get()


class ResizeDecoder:
    """`{"Width":80,"Height":24}`, one after the other, in pieces of any size. Other text is dropped."""

    def __init__(self) -> None:
        self._text = b""

    def feed(self, data: bytes) -> list[tuple[int, int]]:
        """Columns and rows. A size of 0 is dropped: the client does not know its own."""
        self._text += data
        sizes: list[tuple[int, int]] = []
        while (end := self._text.find(b"}")) >= 0:
            one, self._text = self._text[: end + 1], self._text[end + 1 :]
            if (size := _size(one)) is not None:
                sizes.append(size)
        self._text = self._text[-MAX_RESIZE:]
        # Only the last counts, however many came at once.
        return sizes[-1:]


def _size(text: bytes) -> tuple[int, int] | None:
    try:
        value = json.loads(re.sub(rb"^[^{]*", b"", text))
        columns, rows = value["Width"], value["Height"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if all(type(item) is int and 0 < item <= MAX_SIZE for item in (columns, rows)):
        return columns, rows
    return None


async def run(stream: NodeStream, options: CommandOptions, client: CommandClient, incoming: CommandInput) -> None:
    """Carry one exec or attach to its end. Raises OSError when the client has gone."""
    try:
        exit_ = await _carry(stream, options, client, incoming)
        ended = status.of_exit(exit_, codes=stream.opening.WhichOneof("kind") == "exec")
    except ApiError as error:
        ended = status.of_error(error)
    incoming.end()
    await client.end(ended)


async def _carry(
    stream: NodeStream, options: CommandOptions, client: CommandClient, incoming: CommandInput
) -> streams_pb2.Exit:
    """Raises ApiError, OSError."""
    ended: streams_pb2.Exit | None = None
    async with aclosing(stream.begin(incoming.frames())) as frames:
        async for frame in frames:
            match frame.WhichOneof("frame"):
                case "stdout" if options.stdout:
                    await client.output("stdout", frame.stdout)
                case "stderr" if options.stderr:
                    await client.output("stderr", frame.stderr)
                case "exit":
                    # The last frame. A router that is closed before its end withdraws the stream from the node.
                    ended = frame.exit
    if ended is None:
        raise Internal("lost connection to the node's agent")
    return ended
