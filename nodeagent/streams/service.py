"""Answers the control plane's offers: one task and one `Carry` call for each stream."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import struct
import tempfile
import termios
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from nodeagent.images.reference import familiar
from nodeagent.images.store import Image, ImageStore
from nodeagent.images.unpack import BadImage
from nodeagent.pods.manager import PodManager
from nodeagent.runtime.seam import ExecConfig, StartError
from nodeagent.streams import logs
from pinnace.api.v1 import streams_pb2
from pinnace.clock import Clock
from pinnace.errors import ApiError, BadRequest, NotFound

log = logging.getLogger("pinnace.streams")
Frame = streams_pb2.Frame
CHUNK = 32 << 10
MAX_ARCHIVE = 16 << 30


class Streams:
    def __init__(self, pods: PodManager, images: ImageStore, runtime: Any, clock: Clock) -> None:
        self._pods = pods
        self._images = images
        self._runtime = runtime
        self._clock = clock

    async def serve(self, stub: Any, offer: Any) -> None:
        """Carry one stream to its end."""
        outgoing: asyncio.Queue[Any] = asyncio.Queue(16)
        await outgoing.put(Frame(id=offer.id))
        call = stub.Carry(_drain(outgoing))
        # One reader of the call: a generator that is cancelled while it runs cannot be read again.
        incoming: asyncio.Queue[Any] = asyncio.Queue(16)
        reader = asyncio.ensure_future(_pump(call, incoming))
        try:
            exit_ = streams_pb2.Exit()
            try:
                await self._handle(offer.open, _drain(incoming), outgoing)
            except ApiError as error:
                exit_ = streams_pb2.Exit(code=1, message=error.message, reason=error.reason)
            except _Ended as ended:
                exit_ = streams_pb2.Exit(code=ended.code)
            last = asyncio.ensure_future(_say(outgoing, Frame(exit=exit_), None))
            try:
                # The control plane ends the call once the client has the last frame, or has gone. A client that reads
                # slowly (a pager) may take its time.
                await _exhaust(_drain(incoming))
            finally:
                last.cancel()
        except Exception as error:
            log.info("stream_ended id=%s error=%s", offer.id, error)
        finally:
            reader.cancel()
            call.cancel()

    async def _handle(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        match opening.WhichOneof("kind"):
            case "logs":
                await self._logs(opening, incoming, outgoing)
            case "exec":
                await self._exec(opening, incoming, outgoing)
            case "loadImage":
                await self._load(opening, incoming, outgoing)
            case "listImages":
                for image in self._images.all():
                    for frame in _image_frames(image):
                        await outgoing.put(frame)
            case other:
                raise BadRequest(f"this agent does not know streams of kind {other}")

    # Logs

    async def _logs(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        worker = self._pods.find(opening.namespace, opening.pod)
        if worker is None:
            raise NotFound(f'pod "{opening.pod}" is not on this node')
        attempts = worker.seen.attempts.get(opening.container, ())
        if opening.logs.previous:
            if len(attempts) < 2:
                raise BadRequest(f'previous terminated container "{opening.container}" in pod "{opening.pod}" not found')
            attempt = attempts[-2]
        elif attempts:
            attempt = attempts[-1]
        else:
            raise BadRequest(f'container "{opening.container}" in pod "{opening.pod}" is waiting to start')
        path = worker.log_of(opening.container, attempt.number)

        def ended() -> bool:
            last = next((a for a in worker.seen.attempts.get(opening.container, ()) if a.number == attempt.number), None)
            return last is None or not last.running

        follower = asyncio.ensure_future(self._send_logs(path, opening.logs, ended, outgoing))
        gone = asyncio.ensure_future(_exhaust(incoming))
        try:
            await asyncio.wait({follower, gone}, return_when=asyncio.FIRST_COMPLETED)
            if follower.done():
                follower.result()
        finally:
            follower.cancel()
            gone.cancel()

    async def _send_logs(self, path: Path, options: Any, ended: Any, outgoing: asyncio.Queue[Any]) -> None:
        async for chunk in logs.read(path, options, self._clock, ended):
            for start in range(0, len(chunk), CHUNK):
                await outgoing.put(Frame(stdout=chunk[start : start + CHUNK]))

    # Exec

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
            raise _Ended(code)
        except StartError as error:
            raise BadRequest(str(error)) from None
        finally:
            feeder.cancel()
            session.close()

    # Images

    async def _load(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        descriptor, name = tempfile.mkstemp(dir=self._images.incoming)
        path = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                total = 0
                async for frame in incoming:
                    if frame.stdinClosed:
                        break
                    total += len(frame.stdin)
                    if total > MAX_ARCHIVE:
                        raise BadRequest(f"the archive is larger than {MAX_ARCHIVE >> 30} GiB")
                    file.write(frame.stdin)
            try:
                loaded = await self._images.load(path, opening.loadImage.reference)
            except BadImage as error:
                raise BadRequest(f"not a usable image: {error}") from None
            for image in loaded:
                for frame in _image_frames(image):
                    await outgoing.put(frame)
            self._pods.nudge()
        finally:
            path.unlink(missing_ok=True)


class _Ended(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


def _image_frames(image: Image) -> list[Any]:
    names = image.references or ("<none>",)
    return [Frame(image=streams_pb2.Image(reference=familiar(n), id=image.id, sizeBytes=image.size)) for n in names]


async def _drain(queue: asyncio.Queue[Any]) -> AsyncIterator[Any]:
    while (frame := await queue.get()) is not None:
        yield frame
    # Whoever drains it next sees the end too.
    queue.put_nowait(None)


async def _pump(call: Any, queue: asyncio.Queue[Any]) -> None:
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


async def _say(queue: asyncio.Queue[Any], *frames: Any) -> None:
    for frame in frames:
        await queue.put(frame)


async def _exhaust(frames: AsyncIterator[Any]) -> None:
    async for _ in frames:
        pass


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
