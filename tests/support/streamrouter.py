"""A stream router without nodes: its commands are Python functions, its ports are this machine's, its logs are lists.

It records each opening, and counts open streams: tests assert that none is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

from pinnace.api.v1 import streams_pb2
from pinnace.core.v1 import pod_pb2
from pinnace.errors import ApiError, Unavailable

Frame = streams_pb2.Frame
Exit = streams_pb2.Exit
CHUNK = 32 << 10


class FakeProcess:
    """A command's side of a stream of the fake: frames in, and a bounded queue out."""

    def __init__(self, opening: streams_pb2.OpenStream, frames: AsyncIterator[Any] | None) -> None:
        self.opening = opening
        self.command = list(opening.exec.command)
        self._frames = frames
        self.queue: asyncio.Queue[Any] = asyncio.Queue(16)
        self.sizes: list[tuple[int, int]] = []

    async def stdin(self) -> bytes:
        """The next input, b"" at its end. Resizes are noted."""
        assert self._frames is not None
        async for frame in self._frames:
            match frame.WhichOneof("frame"):
                case "stdin":
                    return bytes(frame.stdin)
                case "stdinClosed":
                    return b""
                case "resize":
                    self.sizes.append((frame.resize.columns, frame.resize.rows))
        return b""

    async def stdout(self, data: bytes) -> None:
        await self.queue.put(Frame(stdout=data))

    async def stderr(self, data: bytes) -> None:
        await self.queue.put(Frame(stderr=data))


Command = Callable[[FakeProcess], Awaitable[int]]


class FakeRouter:
    """`commands` by the first word of an exec, and `attach`; they return an exit code or raise ApiError."""

    def __init__(self) -> None:
        self.commands: dict[str, Command] = {**COMMANDS}
        # Frames of a log, of which None ends the stream without an exit; or what to do instead, when it is followed.
        self.logs: list[Any] = []
        self.follow: Command | None = None
        # Statistics by node: a function that makes them, or None for a node that never answers. Others are not connected.
        self.stats: dict[str, Callable[[], streams_pb2.NodeStats] | None] = {}
        # Pods by node. Nodes that are not in here have no agent that is connected.
        self.pods: dict[str, list[pod_pb2.Pod]] = {}
        self.networks: dict[str, streams_pb2.NetworkReport] = {}
        self.openings: list[tuple[str, streams_pb2.OpenStream]] = []
        self.open = 0
        # Frames of clients.
        self.received = 0
        # Streams that were closed by the client before their end.
        self.withdrawn = 0

    async def client(
        self, node: str, opening: streams_pb2.OpenStream, frames: AsyncIterator[Any] | None
    ) -> AsyncGenerator[Any, None]:
        self.openings.append((node, opening))
        process = FakeProcess(opening, None if frames is None else self._counted(frames))
        self.open += 1
        task = asyncio.ensure_future(self._run(process))
        ended = False
        try:
            while (frame := await process.queue.get()) is not None:
                yield frame
            ended = True
        finally:
            self.open -= 1
            self.withdrawn += not ended
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _counted(self, frames: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for frame in frames:
            self.received += 1
            yield frame

    async def _run(self, process: FakeProcess) -> None:
        kind = process.opening.WhichOneof("kind")
        try:
            if kind in ("portForward", "proxyPod"):
                exit_ = Exit(code=await _port(process, getattr(process.opening, kind).port))
            elif kind == "dnsMetrics":
                await process.queue.put(Frame(stdout=b"pinnace_dns_cache_hits_total 7\n"))
                exit_ = Exit()
            elif kind in ("listPods", "health"):
                exit_ = await self._send_pods(process)
            elif kind == "verifyNetwork":
                await process.queue.put(Frame(networkReport=self.networks.get(process.opening.node)))
                exit_ = Exit()
            elif kind == "stats":
                exit_ = await self._send_stats(process)
            elif kind == "logs" and self.follow is not None:
                exit_ = Exit(code=await self.follow(process))
            elif kind == "logs":
                for frame in self.logs:
                    await process.queue.put(frame)
                exit_ = Exit()
            else:
                exit_ = Exit(code=await self.commands[process.command[0] if kind == "exec" else "attach"](process))
        except ApiError as error:
            exit_ = Exit(code=1, message=error.message, reason=error.reason)
        await process.queue.put(Frame(exit=exit_))
        await process.queue.put(None)

    async def _send_pods(self, process: FakeProcess) -> Any:
        """Of a stream about health none of them."""
        node = process.opening.node
        if node not in self.pods:
            raise Unavailable(f"node {node} is not connected")
        for pod in self.pods[node] if process.opening.HasField("listPods") else ():
            await process.queue.put(Frame(pod=pod))
        return Exit()

    async def _send_stats(self, process: FakeProcess) -> Any:
        node = process.opening.node
        if node not in self.stats:
            raise Unavailable(f"node {node} is not connected")
        make = self.stats[node]
        if make is None:
            await asyncio.Event().wait()
            raise AssertionError
        await process.queue.put(Frame(stats=make()))
        return Exit()


async def _port(process: FakeProcess, port: int) -> int:
    from pinnace.errors import BadRequest

    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        raise BadRequest(f"cannot connect: {error.strerror}") from None

    async def send() -> None:
        while data := await process.stdin():
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    sending = asyncio.ensure_future(send())
    try:
        while data := await reader.read(CHUNK):
            await process.stdout(data)
        await process.queue.put(Frame(stdoutClosed=True))
        await sending
    finally:
        sending.cancel()
        writer.close()
        await asyncio.gather(sending, return_exceptions=True)
    return 0


async def _cat(process: FakeProcess) -> int:
    while data := await process.stdin():
        await process.stdout(data)
    return 0


async def _fail(process: FakeProcess) -> int:
    await process.stdout(b"out\n")
    await process.stderr(b"err\n")
    return int(process.command[1])


async def _flood(process: FakeProcess) -> int:
    """So many KiB of output."""
    for _ in range(int(process.command[1])):
        await process.stdout(bytes(1 << 10))
    return 0


async def _count(process: FakeProcess) -> int:
    """How many bytes of input there were."""
    total = 0
    while data := await process.stdin():
        total += len(data)
    await process.stdout(f"{total}\n".encode())
    return 0


async def _deaf(process: FakeProcess) -> int:
    """Reads nothing and never ends."""
    await process.stdout(b"ready\n")
    await asyncio.Event().wait()
    return 0


async def _size(process: FakeProcess) -> int:
    """Waits for a line, and prints the sizes of the terminal that came before."""
    while b"\n" not in (data := await process.stdin()) and b"\r" not in data:
        pass
    await process.stdout(f"{process.sizes}\n".encode())
    return 0


async def _missing(process: FakeProcess) -> int:
    from pinnace.errors import BadRequest

    raise BadRequest('exec: "missing": executable file not found in $PATH')


COMMANDS: dict[str, Command] = {
    "cat": _cat, "fail": _fail, "flood": _flood, "count": _count, "deaf": _deaf, "size": _size, "missing": _missing,
    "attach": _cat,
}  # fmt: skip
