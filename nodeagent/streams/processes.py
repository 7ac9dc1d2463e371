"""Processes that people run in containers: exec, with pipes or a terminal."""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import AsyncIterator
from typing import Any

from nodeagent.pods.manager import PodManager
from nodeagent.runtime.seam import ExecConfig, StartError
from nodeagent.streams.frames import CHUNK, Ended, Frame, Handler
from pinnace.errors import BadRequest


class ProcessStreams:
    def __init__(self, pods: PodManager, runtime: Any) -> None:
        self._pods = pods
        self._runtime = runtime

    def handlers(self) -> dict[str, Handler]:
        return {"exec": self._exec}

    async def _exec(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        worker = self._pods.find(opening.namespace, opening.pod)
        handle = worker.handles.get(opening.container) if worker is not None else None
        if handle is None:
            raise BadRequest(f"container {opening.container} in pod {opening.pod} is not running")
        config = ExecConfig(tuple(opening.exec.command), opening.exec.tty)
        session = _Terminal(outgoing) if opening.exec.tty else _Pipes(outgoing, stdin=opening.exec.stdin)
        feeder = asyncio.ensure_future(session.feed(incoming))
        try:
            running = asyncio.ensure_future(self._runtime.exec(handle, config, session.child))
            await asyncio.wait({running, feeder}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done() and session.hung_up:
                running.cancel()
                return
            code = await running
            session.close_child()
            await session.drained()
            raise Ended(code)
        except StartError as error:
            raise BadRequest(str(error)) from None
        finally:
            feeder.cancel()
            session.close()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


async def _write_all(descriptor: int, data: bytes) -> None:
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


class _Session:
    """The agent's side of a process's standard streams. Reading stops while the outgoing queue is full."""

    def __init__(self, outgoing: asyncio.Queue[Any]) -> None:
        self._outgoing = outgoing
        self._readers: list[asyncio.Task[None]] = []
        self.child: tuple[int, int, int] = (-1, -1, -1)
        self._input = -1
        self.hung_up = False
        # Readers that wait for the client to take what they have.
        self._held_up = 0

    def _read(self, descriptor: int, stream: str) -> None:
        os.set_blocking(descriptor, False)
        self._readers.append(asyncio.ensure_future(self._copy(descriptor, stream)))

    async def _copy(self, descriptor: int, stream: str) -> None:
        try:
            while True:
                await _readable(descriptor)
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
        finally:
            os.close(descriptor)

    async def feed(self, incoming: AsyncIterator[Any]) -> None:
        async for frame in incoming:
            kind = frame.WhichOneof("frame")
            if kind == "stdin" and self._input >= 0:
                try:
                    await _write_all(self._input, frame.stdin)
                except OSError:
                    self.close_input()
            elif kind == "stdinClosed":
                self.close_input()
            elif kind == "resize":
                self.resize(frame.resize)
        self.hung_up = True

    def resize(self, size: Any) -> None:
        pass

    def close_input(self) -> None:
        if self._input >= 0:
            os.close(self._input)
            self._input = -1

    def close_child(self) -> None:
        for descriptor in {fd for fd in self.child if fd >= 0}:
            os.close(descriptor)
        self.child = (-1, -1, -1)

    async def drained(self) -> None:
        """What the process wrote has been sent, however slow the client; a child of its that keeps the pipe open is not
        waited for long."""
        pending: set[Any] = set(self._readers)
        while pending and not self.hung_up:
            _, pending = await asyncio.wait(pending, timeout=1.0)
            if not self._held_up:
                return

    def close(self) -> None:
        for task in self._readers:
            task.cancel()
        self.close_child()
        self.close_input()


class _Pipes(_Session):
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


class _Terminal(_Session):
    def __init__(self, outgoing: asyncio.Queue[Any]) -> None:
        super().__init__(outgoing)
        master, slave = os.openpty()
        self.child = (slave, slave, slave)
        self._input = os.dup(master)
        os.set_blocking(self._input, False)
        self._read(master, "stdout")

    def resize(self, size: Any) -> None:
        if self._input >= 0:
            packed = struct.pack("HHHH", size.rows, size.columns, 0, 0)
            fcntl.ioctl(self._input, termios.TIOCSWINSZ, packed)

    def close_input(self) -> None:
        # The end of input on a terminal is a character; its descriptor stays open for resizes.
        pass

    def close(self) -> None:
        super().close()
        if self._input >= 0:
            os.close(self._input)
            self._input = -1
