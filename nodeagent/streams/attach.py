"""Attaching to a container: the agent's end of the socket that its monitor serves, and the stream over it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from nodeagent.launcher import attachments
from nodeagent.pods.manager import PodManager
from nodeagent.runtime.interface import Exit, Handle, Runtime
from nodeagent.streams.frames import Ended, Frame, Handler
from nodeagent.streams.processes import running
from pinnace import podspec
from pinnace.errors import BadRequest, Internal

# Seconds after the monitor hung up in which the container's end must show.
END_WITHIN = 10.0
# While the monitor has not yet taken those who came before; seconds between tries.
CONNECT_TRIES, CONNECT_PAUSE = 100, 0.02


@dataclass(frozen=True, slots=True)
class Output:
    """`stream` is stdout or stderr; `missed` bytes were not sent before, because they were not read in time."""

    stream: str
    data: bytes
    missed: int = 0


class Attachment:
    """A connection to a container's monitor. Reading and writing wait for the peer: nothing piles up here."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, handle: Handle, *, stdin: bool) -> Attachment:
        """`stdin`: feed standard input too. Raises OSError when the container has ended."""
        reader, writer = await asyncio.open_unix_connection(sock=await _connect(str(handle.bundle)), limit=64 << 10)
        if stdin:
            writer.write(attachments.frame(b"a"))
        return cls(reader, writer)

    async def read(self) -> Output | None:
        """What the container said next, None at its end."""
        try:
            kind, length = attachments.header(await self._reader.readexactly(attachments.HEADER_SIZE))
            data = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError):
            return None
        if kind == b"s":
            return Output("stderr", b"", int(data))
        return Output("stdout" if kind == b"o" else "stderr", data)

    async def write(self, data: bytes) -> None:
        """Raises OSError."""
        for start in range(0, len(data), attachments.MAX_PAYLOAD):
            await self._send(b"i", data[start : start + attachments.MAX_PAYLOAD])

    async def close_input(self) -> None:
        await self._send(b"c")

    async def resize(self, columns: int, rows: int) -> None:
        await self._send(b"r", struct.pack("!HH", min(columns, 0xFFFF), min(rows, 0xFFFF)))

    async def _send(self, kind: bytes, payload: bytes = b"") -> None:
        self._writer.write(attachments.frame(kind, payload))
        await self._writer.drain()

    def close(self) -> None:
        self._writer.close()


async def _connect(bundle: str) -> socket.socket:
    for _ in range(CONNECT_TRIES):
        try:
            return attachments.connect(bundle)
        except BlockingIOError:
            await asyncio.sleep(CONNECT_PAUSE)
    raise OSError("too many are attached already")


class AttachStreams:
    def __init__(self, pods: PodManager, runtime: Runtime) -> None:
        self._pods = pods
        self._runtime = runtime

    def handlers(self) -> dict[str, Handler]:
        return {"attach": self._attach}

    async def _attach(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        handle = running(self._pods, opening)
        try:
            attachment = await Attachment.open(handle, stdin=opening.attach.stdin)
        except OSError as error:
            raise BadRequest(f"container {opening.container} in pod {opening.pod} cannot be attached to: {error}") from None
        worker = self._pods.find(opening.namespace, opening.pod)
        container = podspec.find(worker.pod, opening.container) if worker is not None else None
        newline = "\r\n" if container is not None and container.tty else "\n"
        feeder = asyncio.ensure_future(_feed(attachment, incoming))
        try:
            while (output := await attachment.read()) is not None:
                await outgoing.put(_frame(output, newline=newline))
        finally:
            feeder.cancel()
            attachment.close()
        exit_ = await self._end(handle)
        raise Ended(exit_.code)

    async def _end(self, handle: Handle) -> Exit:
        try:
            async with asyncio.timeout(END_WITHIN):
                return await self._runtime.wait(handle)
        except TimeoutError:
            raise Internal("the container's monitor hung up while the container went on") from None


async def _feed(attachment: Attachment, incoming: AsyncIterator[Any]) -> None:
    try:
        async for frame in incoming:
            kind = frame.WhichOneof("frame")
            if kind == "stdin":
                await attachment.write(frame.stdin)
            elif kind == "stdinClosed":
                await attachment.close_input()
            elif kind == "resize":
                await attachment.resize(frame.resize.columns, frame.resize.rows)
    except OSError:
        # The container has ended; the reader sees it too.
        return


def _frame(output: Output, *, newline: str) -> Any:
    if output.missed:
        text = f"{newline}[{output.missed} bytes were not read in time; kctl logs has them]{newline}"
        return Frame(stderr=text.encode())
    return Frame(stdout=output.data) if output.stream == "stdout" else Frame(stderr=output.data)
