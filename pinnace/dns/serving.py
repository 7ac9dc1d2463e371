"""Queries over UDP and TCP on bound sockets, with bounds that no client can exceed at the cost of others.

Datagrams are taken from the kernel as fast as they come and queued by client; a client beyond its share loses the rest. Clients
take turns by the processor time that their queries cost, over UDP and TCP together (`turns`), so that a flood delays others by
one answer per client. A query that waits (for another name server) counts against its client until it is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from pinnace.clock import SystemClock
from pinnace.dns import messages
from pinnace.dns.reporting import Reports
from pinnace.dns.turns import Turns
from pinnace.shares import Shares, Slot

T = TypeVar("T")
# Queries that wait for an answer and TCP connections at once, and those of one client. At the bound of all, the client that has
# most loses one for another's; a client at its own bound loses its longest idle connection, and its further queries. Each query
# has a socket of its own, to another server.
MAX_QUERIES, MAX_QUERIES_EACH = 2048, 512
MAX_CONNECTIONS, MAX_CONNECTIONS_EACH = 128, 32
# Datagrams taken from a socket before some are answered: to take one costs 3 µs, and what is not taken in time is lost for all
# clients.
RECEIVE = 4096
# Bytes of a datagram; a longer one is malformed for what is left of it.
_MAX_DATAGRAM = 4096
# Seconds that a connection may be idle, and that a client may take to accept a response (RFC 7766, 6.2.3).
IDLE = 10.0

# An answer (empty for what deserves none), or one that has to be waited for, which may then be work for the client's turn.
Later = Awaitable[bytes | Callable[[], bytes]]
Answer = bytes | Later
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
    """One UDP socket, whose queries get in line."""

    def __init__(
        self, sock: socket.socket, turns: Turns, answer: Callable[[bytes, tuple[object, ...], socket.socket], None],
        dropped: Dropped,
    ) -> None:  # fmt: skip
        self._sock, self._turns, self._answer, self._dropped = sock, turns, answer, dropped
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._readable)

    def close(self) -> None:
        self._loop.remove_reader(self._sock)

    def _readable(self) -> None:
        try:
            for _ in range(RECEIVE):
                self._enqueue(*self._sock.recvfrom(_MAX_DATAGRAM))
        except OSError:
            # BlockingIOError: there are no more. Others: an ICMP error of an earlier response, which concerns no other client.
            pass
        self._turns.run()

    def _enqueue(self, data: bytes, address: tuple[object, ...]) -> None:
        if not self._turns.offer(str(address[0]), self._answer, data, address, self._sock):
            self._dropped.queue += 1


class Server:
    """What `resolve` raises costs that query its answer, and is logged."""

    def __init__(self, resolve: Resolve, dropped: Dropped | None = None, turns: Turns | None = None) -> None:
        self._resolve = resolve
        self._turns = turns if turns is not None else Turns()
        self._dropped = dropped or Dropped()
        self._queries = Shares(MAX_QUERIES, MAX_QUERIES_EACH)
        self._connections = Shares(MAX_CONNECTIONS, MAX_CONNECTIONS_EACH)
        self._reports = Reports(SystemClock().monotonic)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, udp: Sequence[socket.socket], tcp: Sequence[socket.socket]) -> None:
        """Until cancelled, on non-blocking sockets that are bound; those of `tcp` listen."""
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._turns.close)
            for sock in udp:
                stack.callback(_Datagrams(sock, self._turns, self._datagram, self._dropped).close)
            for sock in tcp:
                await stack.enter_async_context(await asyncio.start_server(self._connected, sock=sock, limit=messages.MAX_SIZE))
            await asyncio.get_running_loop().create_future()

    def _failed(self, query: bytes) -> bytes:
        """After an exception, which is the failure of this query alone."""
        self._reports.exception("not_answered")
        return messages.failure(query, messages.SERVFAIL) if len(query) >= messages.HEADER else b""

    def _contained(self, query: bytes, make: Callable[[], T]) -> T | bytes:
        try:
            return make()
        except Exception:
            return self._failed(query)

    def _datagram(self, query: bytes, address: tuple[object, ...], sock: socket.socket) -> None:
        try:
            answer = self._resolve(query, False)
        except Exception:
            answer = self._failed(query)
        if isinstance(answer, bytes):
            _send(sock, answer, address)
            return
        client = str(address[0])
        if not self._queries.has_room(client):
            self._dropped.queries += 1
            _close_unawaited(answer)
            return
        slot = self._queries.take(client, lambda: self._drop(task))
        task = asyncio.get_running_loop().create_task(self._later(query, answer, address, sock, slot))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._finish(done, slot, answer))

    def _drop(self, task: asyncio.Task[None]) -> None:
        self._dropped.queries += 1
        task.cancel()

    def _finish(self, task: asyncio.Task[None], slot: Slot, answer: Later) -> None:
        """Also of a task that was cancelled before it began."""
        self._tasks.discard(task)
        self._queries.release(slot)
        _close_unawaited(answer)

    async def _later(
        self, query: bytes, answer: Later, address: tuple[object, ...], sock: socket.socket, slot: Slot
    ) -> None:  # fmt: skip
        response: bytes | Callable[[], bytes] = b""
        try:
            response = await answer
        except Exception:
            self._reports.exception("not_answered")
        finally:
            self._queries.release(slot)
        if isinstance(response, bytes):
            _send(sock, response, address)
        else:
            self._turns.put(str(address[0]), self._make_and_send, query, response, address, sock)

    def _make_and_send(
        self, query: bytes, make: Callable[[], bytes], address: tuple[object, ...], sock: socket.socket
    ) -> None:  # fmt: skip
        _send(sock, self._contained(query, make), address)

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
                await self._converse(client, reader, writer, slot)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            # asyncio's streams would log the end of the task.
            if not evicted:
                raise
        finally:
            await _close(writer)

    async def _converse(
        self, client: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, slot: Slot
    ) -> None:  # fmt: skip
        """One query after another. Bytes that are no whole query leave the connection as idle as it was."""
        while True:
            async with asyncio.timeout(IDLE):
                size = int.from_bytes(await reader.readexactly(2), "big")
                query = await reader.readexactly(size)
            self._connections.touch(slot, busy=True)
            answer = await self._in_turn(client, query, partial(self._resolve, query, True))
            later = answer if isinstance(answer, bytes) else await answer
            response = later if isinstance(later, bytes) else await self._in_turn(client, query, later)
            if not response:
                return
            writer.write(len(response).to_bytes(2, "big") + response)
            async with asyncio.timeout(IDLE):
                await writer.drain()
            self._connections.touch(slot, busy=False)

    async def _in_turn(self, client: str, query: bytes, make: Callable[[], T]) -> T | bytes:
        """What `make` returns when it is the client's turn."""
        done: asyncio.Future[T | bytes] = asyncio.get_running_loop().create_future()

        def work() -> None:
            # Its connection may have been closed.
            if not done.done():
                done.set_result(self._contained(query, make))

        self._turns.put(client, work)
        return await done


def _send(sock: socket.socket, response: bytes, address: tuple[object, ...]) -> None:
    """A client that has gone, or a full buffer, costs this response alone."""
    if response and sock.fileno() >= 0:
        try:
            sock.sendto(response, address)
        except OSError:
            pass


def _close_unawaited(answer: Later) -> None:
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
