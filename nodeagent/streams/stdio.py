"""The agent's side of a process's standard streams: pipes, or the master of a terminal.

Reading stops while the outgoing queue is full, and the pipe or the terminal then stops the process.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from nodeagent.linux import terminals
from nodeagent.streams.frames import CHUNK, Frame

# Seconds between looks whether what a process left in its pipes has been taken.
DRAIN = 1.0


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


async def write_all(descriptor: int, data: bytes) -> None:
    """Raises OSError without a reader."""
    loop = asyncio.get_running_loop()
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_writer(descriptor, _settle, ready)
            try:
                await ready
            finally:
                loop.remove_writer(descriptor)


class Session:
    """`child` are the descriptors for the process, None where the runtime makes a terminal and `adopt` gets it."""

    def __init__(self, outgoing: asyncio.Queue[Any]) -> None:
        self._outgoing = outgoing
        self._readers: list[asyncio.Task[None]] = []
        self.child: tuple[int, int, int] | None = None
        self._input = -1
        # Readers that wait for the client to take what they have, and frames that it has taken.
        self._held_up = self._taken = 0

    def adopt(self, master: int) -> None:
        os.close(master)

    def _read(self, descriptor: int, stream: str) -> None:
        os.set_blocking(descriptor, False)
        self._readers.append(asyncio.ensure_future(self._copy(descriptor, stream)))

    async def _copy(self, descriptor: int, stream: str) -> None:
        try:
            while True:
                await readable(descriptor)
                try:
                    data = os.read(descriptor, CHUNK)
                except BlockingIOError:
                    continue
                except OSError:
                    return
                if not data:
                    return
                self._held_up += 1
                await self._outgoing.put(Frame(stdout=data) if stream == "stdout" else Frame(stderr=data))
                self._held_up -= 1
                self._taken += 1
        finally:
            os.close(descriptor)

    async def feed(self, incoming: AsyncIterator[Any]) -> None:
        """Frames of the client to the process, until the client is gone."""
        async for frame in incoming:
            kind = frame.WhichOneof("frame")
            if kind == "stdin":
                await self.write(frame.stdin)
            elif kind == "stdinClosed":
                self.close_input()
            elif kind == "resize":
                self.resize(frame.resize.columns, frame.resize.rows)

    async def write(self, data: bytes) -> None:
        if self._input >= 0:
            try:
                await write_all(self._input, data)
            except OSError:
                self.close_input()

    def resize(self, columns: int, rows: int) -> None:
        pass

    def close_input(self) -> None:
        if self._input >= 0:
            os.close(self._input)
            self._input = -1

    def close_child(self) -> None:
        for descriptor in self.child or ():
            os.close(descriptor)
        self.child = None

    async def drained(self) -> None:
        """What the process wrote has been sent, however slow the client; a child of its that keeps the pipe open is not
        waited for long."""
        pending: set[Any] = set(self._readers)
        while pending:
            before = self._taken
            _, pending = await asyncio.wait(pending, timeout=DRAIN)
            if not self._held_up and self._taken == before:
                return

    def close(self) -> None:
        for task in self._readers:
            task.cancel()
        self.close_child()
        if self._input >= 0:
            os.close(self._input)
            self._input = -1


class Pipes(Session):
    def __init__(self, outgoing: asyncio.Queue[Any], *, stdin: bool) -> None:
        super().__init__(outgoing)
        if stdin:
            child_in, self._input = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._input, False)
        else:
            child_in = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        out, child_out = os.pipe2(os.O_CLOEXEC)
        err, child_err = os.pipe2(os.O_CLOEXEC)
        self.child = (child_in, child_out, child_err)
        self._read(out, "stdout")
        self._read(err, "stderr")


class Terminal(Session):
    """A terminal of the container's. What comes before there is one waits: input, and the latest size."""

    def __init__(self, outgoing: asyncio.Queue[Any]) -> None:
        super().__init__(outgoing)
        self._size: tuple[int, int] | None = None
        self._there = asyncio.Event()

    def adopt(self, master: int) -> None:
        self._input = os.dup(master)
        os.set_blocking(self._input, False)
        self._read(master, "stdout")
        if self._size is not None:
            self.resize(*self._size)
        self._there.set()

    async def write(self, data: bytes) -> None:
        await self._there.wait()
        await super().write(data)

    def resize(self, columns: int, rows: int) -> None:
        self._size = columns, rows
        if self._input >= 0:
            terminals.resize(self._input, columns, rows)

    def close_input(self) -> None:
        # The end of input on a terminal is a character; its descriptor stays open for resizes.
        pass
