"""An upgraded connection as asyncio sees it: reads that end, writes with back-pressure, and peers that have died.

A connection of which nothing is read, because the container takes no more input, shows neither the end of its client, which
is behind that input, nor pings. The watch looks after both: it reads the state of the TCP connection, and sends heartbeats,
to which the kernel of a client that has died answers with a reset, and which keep WebSocket clients that wait for pongs.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import sys
import termios
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from controlplane.http.messages import UpgradedConnection

READ = 64 << 10
# Seconds of silence until the kernel asks whether the client's host is there, between its questions, and their number.
KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
# Seconds in which a client has to take the last bytes, and the interval of polling whether it has.
DELIVER, POLL = 3600.0, 0.1
# States of TCP_INFO (linux/tcp_states.h) in which the client has closed: CLOSE, CLOSE_WAIT, LAST_ACK, CLOSING.
_ENDED = (7, 8, 9, 11)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Durations in seconds.

    `open`: for the streams of an exec, and of each forwarded connection, as the kubelet has it. `watch`: the interval of
    polling a connection that is not being read. `linger`: for the client to close after it has received the last byte."""

    open: float = 30.0
    watch: float = 5.0
    linger: float = 2.0


class ByteChannel(Protocol):
    """A stream of bytes to a client and back: a connection, or a tunnel through a WebSocket."""

    async def read(self) -> bytes:
        """The next bytes, b"" at the end."""

    async def write(self, data: bytes) -> None:
        """Return once the client has room for more. Raises OSError when it has gone."""


class ClientConnection:
    """A `ByteChannel` over TCP, with or without TLS."""

    def __init__(self, upgraded: UpgradedConnection) -> None:
        self._reader = upgraded.reader
        self._writer = upgraded.writer
        self._leftover = upgraded.leftover
        self._drain = asyncio.Lock()
        # How often `read` was called, and whether a call waits now.
        self._reads = 0
        self._waiting = False
        self._socket = upgraded.writer.get_extra_info("socket")
        # Written bytes have left once `drain` returns (sslproto never resumes with a high-water mark of 0).
        upgraded.writer.transport.set_write_buffer_limits(1, 0)
        self._keep_alive()

    def _keep_alive(self) -> None:
        try:
            if self._socket is not None:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for option, value in KEEPALIVE:
                    self._socket.setsockopt(socket.IPPROTO_TCP, option, value)
        except OSError:
            # Not TCP, or closed already.
            self._socket = None

    async def read(self) -> bytes:
        self._reads += 1
        if self._leftover:
            data, self._leftover = self._leftover, b""
            return data
        self._waiting = True
        try:
            return await self._reader.read(READ)
        except OSError:
            return b""
        finally:
            self._waiting = False

    async def write(self, data: bytes) -> None:
        if data:
            if self._writer.is_closing():
                raise ConnectionResetError("the connection is closed")
            self._writer.write(data)
        # One at a time: before Python 3.12 two tasks may not drain one writer.
        async with self._drain:
            await self._writer.drain()

    async def watch(self, interval: float, heartbeat: Callable[[], Awaitable[None]]) -> None:
        """Return once the client has closed a connection that is not being read; poll every `interval` seconds."""
        before = -1
        while True:
            await asyncio.sleep(interval)
            if not self._waiting and self._reads == before:
                if self._ended():
                    return
                await heartbeat()
            before = self._reads

    async def delivered(self) -> None:
        """Return once the client's host has received all that was written.

        A client that reads slowly may take its time: closing earlier would lose the rest as soon as it sends a ping."""
        for _ in range(round(DELIVER / POLL)):
            if not self._unsent():
                return
            await asyncio.sleep(POLL)

    def _unsent(self) -> int:
        """Bytes in the kernel that the client has not acknowledged; 0 of a closed socket."""
        descriptor = -1 if self._socket is None else self._socket.fileno()
        if descriptor < 0:
            return 0
        try:
            return int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        except OSError:
            return 0

    def _ended(self) -> bool:
        try:
            return self._socket is not None and self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _ENDED
        except OSError:
            return True


async def first_of(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all until one returns or raises; the others are cancelled, and have ended when this returns."""
    tasks = [asyncio.ensure_future(item) for item in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def forever(coroutine: Coroutine[Any, Any, None]) -> None:
    """For `first_of`: something that may end before the others, but does not end them."""
    await coroutine
    await asyncio.get_running_loop().create_future()
