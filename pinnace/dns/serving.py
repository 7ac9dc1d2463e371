"""Queries over UDP and TCP on bound sockets, with bounds that no client can exceed at the cost of others.

Datagrams are taken from the kernel as fast as they come and queued by client; a client beyond its share loses the rest. Clients
take turns, one query each, so that a flood delays others by one answer per turn. A query that waits (for another name server)
counts against its client until it is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from pinnace.dns import messages
from pinnace.shares import Shares, Slot

# Queries that wait for an answer and TCP connections at once, and those of one client. At the bound of all, the client that has
# most loses one for another's; a client at its own bound loses its longest idle connection, and its further queries.
MAX_QUERIES, MAX_QUERIES_EACH = 512, 128
MAX_CONNECTIONS, MAX_CONNECTIONS_EACH = 128, 32
# Datagrams of one client that are received and not looked at yet, and clients that may have some.
MAX_QUEUED, MAX_CLIENTS = 64, 4096
# Datagrams taken from a socket before some are answered, and answered before more are taken: to take one costs 3 µs, to make an
# answer up to 1 ms, and what is not taken in time is lost for all clients.
RECEIVE, ANSWER = 4096, 16
# Bytes of a datagram; a longer one is malformed for what is left of it.
_MAX_DATAGRAM = 4096
# Seconds that a connection may be idle, and that a client may take to accept a response (RFC 7766, 6.2.3).
IDLE = 10.0

# An answer (empty for what deserves none), or one that has to be waited for.
Answer = bytes | Awaitable[bytes]
# Gets a query and whether it came by TCP.
Resolve = Callable[[bytes, bool], Answer]


@dataclass(slots=True)
class Dropped:
    """Counts of what was not answered: datagrams beyond a client's queue, queries beyond a share, and connections that were
    closed for others."""

    queue: int = 0
    queries: int = 0
    connections: int = 0


class _Datagrams:
    """One UDP socket: queues by client, and whose turn it is."""

    def __init__(
        self, sock: socket.socket, answer: Callable[[bytes, tuple[object, ...], socket.socket], None], dropped: Dropped
    ) -> None:
        self._sock, self._answer, self._dropped = sock, answer, dropped
        self._queues: dict[str, deque[tuple[bytes, tuple[object, ...]]]] = {}
        self._turns: deque[str] = deque()
        self._loop = asyncio.get_running_loop()
        self._scheduled: asyncio.Handle | None = None
        self._loop.add_reader(sock, self._readable)

    def close(self) -> None:
        self._loop.remove_reader(self._sock)
        if self._scheduled is not None:
            self._scheduled.cancel()

    def _readable(self) -> None:
        try:
            for _ in range(RECEIVE):
                self._enqueue(*self._sock.recvfrom(_MAX_DATAGRAM))
        except OSError:
            # BlockingIOError: there are no more. Others: an ICMP error of an earlier response, which concerns no other client.
            pass
        if self._scheduled is None:
            self._work()

    def _enqueue(self, data: bytes, address: tuple[object, ...]) -> None:
        client = str(address[0])
        queue = self._queues.get(client)
        if queue is None:
            if len(self._queues) >= MAX_CLIENTS:
                self._dropped.queue += 1
                return
            queue = self._queues[client] = deque()
            self._turns.append(client)
        elif len(queue) >= MAX_QUEUED:
            self._dropped.queue += 1
            return
        queue.append((data, address))

    def _work(self) -> None:
        """One query of each client in turn; what is left is done after more has been received."""
        self._scheduled = None
        for _ in range(ANSWER):
            if not self._turns:
                return
            client = self._turns.popleft()
            queue = self._queues[client]
            data, address = queue.popleft()
            if queue:
                self._turns.append(client)
            else:
                del self._queues[client]
            self._answer(data, address, self._sock)
        if self._turns:
            self._scheduled = self._loop.call_soon(self._work)


class Server:
    """`resolve` must not raise; an awaitable of it neither."""

    def __init__(self, resolve: Resolve, dropped: Dropped | None = None) -> None:
        self._resolve = resolve
        self._dropped = dropped or Dropped()
        self._queries = Shares(MAX_QUERIES, MAX_QUERIES_EACH)
        self._connections = Shares(MAX_CONNECTIONS, MAX_CONNECTIONS_EACH)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, udp: Sequence[socket.socket], tcp: Sequence[socket.socket]) -> None:
        """Until cancelled, on non-blocking sockets that are bound; those of `tcp` listen."""
        async with contextlib.AsyncExitStack() as stack:
            for sock in udp:
                stack.callback(_Datagrams(sock, self._datagram, self._dropped).close)
            for sock in tcp:
                await stack.enter_async_context(await asyncio.start_server(self._connected, sock=sock, limit=messages.MAX_SIZE))
            await asyncio.get_running_loop().create_future()

    def _datagram(self, query: bytes, address: tuple[object, ...], sock: socket.socket) -> None:
        answer = self._resolve(query, False)
        if isinstance(answer, bytes):
            _send(sock, answer, address)
            return
        client = str(address[0])
        if not self._queries.has_room(client):
            self._dropped.queries += 1
            _close_unawaited(answer)
            return
        slot = self._queries.take(client, lambda: self._drop(task))
        task = asyncio.get_running_loop().create_task(self._later(answer, address, sock, slot))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._finish(done, slot, answer))

    def _drop(self, task: asyncio.Task[None]) -> None:
        self._dropped.queries += 1
        task.cancel()

    def _finish(self, task: asyncio.Task[None], slot: Slot, answer: Awaitable[bytes]) -> None:
        """Also of a task that was cancelled before it began."""
        self._tasks.discard(task)
        self._queries.release(slot)
        _close_unawaited(answer)

    async def _later(self, answer: Awaitable[bytes], address: tuple[object, ...], sock: socket.socket, slot: Slot) -> None:
        try:
            response = await answer
        finally:
            self._queries.release(slot)
        if sock.fileno() >= 0:
            _send(sock, response, address)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task, evicted = asyncio.current_task(), False

        def end() -> None:
            nonlocal evicted
            evicted = True
            self._dropped.connections += 1
            writer.transport.abort()
            # It may wait for an answer.
            if task is not None:
                task.cancel()

        # There is no address of a connection that has been reset.
        client = str((writer.get_extra_info("peername") or ("",))[0])
        try:
            with self._connections.taken(client, end) as slot:
                await self._converse(reader, writer, slot)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            # asyncio's streams would log the end of the task.
            if not evicted:
                raise
        finally:
            await _close(writer)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, slot: Slot) -> None:
        """One query after another. Bytes that are no whole query leave the connection as idle as it was."""
        while True:
            async with asyncio.timeout(IDLE):
                size = int.from_bytes(await reader.readexactly(2), "big")
                query = await reader.readexactly(size)
            self._connections.touch(slot, busy=True)
            answer = self._resolve(query, True)
            response = answer if isinstance(answer, bytes) else await answer
            if not response:
                return
            writer.write(len(response).to_bytes(2, "big") + response)
            async with asyncio.timeout(IDLE):
                await writer.drain()
            self._connections.touch(slot, busy=False)


def _send(sock: socket.socket, response: bytes, address: tuple[object, ...]) -> None:
    """A client that has gone, or a full buffer, costs this response alone."""
    if response:
        try:
            sock.sendto(response, address)
        except OSError:
            pass


def _close_unawaited(answer: Awaitable[bytes]) -> None:
    """Nobody will await it."""
    close = getattr(answer, "close", None)
    if close is not None:
        close()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Let the last response out, but wait for no client that does not read."""
    try:
        writer.close()
        async with asyncio.timeout(IDLE):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        writer.transport.abort()
