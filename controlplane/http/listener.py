"""Accepting TLS connections from strangers and clients, so that none of them blocks the others.

Joining hosts have no certificate yet, so anyone may connect. A connection holds a file descriptor, which the gRPC port needs
too, and its handshake costs a millisecond of the event loop. Hence, from accept(2) on, strangers are limited:

- there are at most `connections` of them, and `per_peer` of one address (an IPv6 host is its /64);
- one more takes the place of the oldest that has not sent its request: of the same address, or of the address that has most;
- until the first byte there is a socket and no TLS state; a handshake takes from the address's allowance;
- the whole request has one deadline, and so has the response; closing has one too, for a peer that never closes its end.

A connection that a known user has shown to be theirs leaves the strangers' limits for the user's (`Connection.admit`): at most
`clients` of all, `per_user` of one; one more takes the place of the user's oldest that is idle between requests.

What a connection carries is the handler's business.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from asyncio import sslproto
from collections.abc import Awaitable, Callable

from controlplane.http.allowance import Allowance
from controlplane.http.connection import Connection, Reader
from controlplane.http.limits import Limits
from controlplane.http.places import Places, peer_of
from pinnace.clock import Clock

log = logging.getLogger("pinnace.listener")
BACKLOG = 1024
# Seconds until accept is tried again after the process or the machine ran out of descriptors.
EXHAUSTED = 0.1
# asyncio allocates this much for each TLS connection, by default 256 KiB. Most requests fit; others are read in pieces of it.
sslproto.SSLProtocol.max_size = 8 << 10


Handler = Callable[[Connection], Awaitable[None]]
"""Serves a connection after its handshake, until it is to be closed."""


class Listener:
    def __init__(self, handle: Handler, tls: Callable[[], ssl.SSLContext], clock: Clock, limits: Limits) -> None:
        """`tls` is asked for every connection, so that a new certificate needs no new listener."""
        self._handle = handle
        self._tls = tls
        self._limits = limits
        self._handshakes = Allowance(clock, limits.rate, limits.burst)
        self._sockets: list[socket.socket] = []
        self._places = Places(limits)

    async def open(self, host: str, port: int) -> None:
        """Listen, where an adopted socket does not already. Raises OSError."""
        bound = {made.getsockname()[:2] for made in self._sockets}
        loop = asyncio.get_running_loop()
        host = host.strip("[]")
        # As bytes: of a string the codec for international names would be loaded, 0.4 MB.
        name = host.encode("ascii") if host.isascii() else host
        found = await loop.getaddrinfo(name or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, *_, address in dict.fromkeys(found):
            if address[:2] in bound:
                continue
            # As gRPC does: [::] is IPv4 too.
            both = host == "::" and socket.has_dualstack_ipv6()
            made = socket.create_server(address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=both)
            made.setblocking(False)
            self._sockets.append(made)

    def adopt(self, descriptor: int) -> None:
        """Also accept on a listening TCP socket that the parent process has opened. Raises OSError."""
        made = socket.socket(fileno=descriptor)
        if not made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(errno.EINVAL, f"file descriptor {descriptor} is not a listening socket")
        made.setblocking(False)
        made.set_inheritable(False)
        self._sockets.append(made)

    @property
    def port(self) -> int:
        return int(self._sockets[0].getsockname()[1])

    async def serve(self) -> None:
        """Accept until cancelled; then every connection is closed."""
        try:
            async with asyncio.TaskGroup() as group:
                for listening in self._sockets:
                    group.create_task(self._accept(listening))
        finally:
            for listening in self._sockets:
                listening.close()
            tasks = [connection.task for connection in self._places if connection.task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listening)
            except OSError as error:
                # EMFILE and ENFILE, and a connection that the peer has reset (accept(2)).
                log.warning("accept_failed error=%s", error)
                await asyncio.sleep(EXHAUSTED)
                continue
            peer = peer_of(address[0])
            if self._places.make_room(peer):
                self._start(sock, peer)
            else:
                sock.close()
            # sock_accept does not yield while connections are waiting.
            await asyncio.sleep(0)
            await self._places.wait()

    def _start(self, sock: socket.socket, peer: str) -> None:
        connection = Connection(peer, Reader(limit=self._limits.buffer), self._limits, self._places.admit, self._places.serving)
        self._places.add(connection)
        connection.task = asyncio.create_task(self._run(connection, sock))

        def done(task: asyncio.Task[None]) -> None:
            self._places.remove(connection)
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("connection_failed peer=%s", peer, exc_info=error)

        connection.task.add_done_callback(done)

    async def _run(self, connection: Connection, sock: socket.socket) -> None:
        try:
            async with asyncio.timeout(self._limits.request) as deadline:
                await _readable(sock)
                if not self._handshakes.take(connection.peer):
                    return
                connection.deadline = deadline
                await self._handshake(connection, sock)
                await self._handle(connection)
        except (TimeoutError, OSError):
            pass
        finally:
            connection.serving = False
            connection.deadline = connection.reader.on_eof = None
            await self._close(connection, sock)

    async def _handshake(self, connection: Connection, sock: socket.socket) -> None:
        # asyncio does so only for sockets that were made with IPPROTO_TCP. The last piece of a response would else wait for the
        # acknowledgement of the one before, which peers delay by 40 ms.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(connection.reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, sock, ssl=self._tls(), ssl_handshake_timeout=self._limits.request,
            ssl_shutdown_timeout=self._limits.shutdown,
        )  # fmt: skip
        # `drain` waits for what is not encrypted yet (sslproto never resumes with a high-water mark of 0).
        transport.set_write_buffer_limits(1, 0)
        connection.writer = asyncio.StreamWriter(transport, protocol, connection.reader, loop)

    async def _close(self, connection: Connection, sock: socket.socket) -> None:
        """Say goodbye to a peer that was answered; hang up on any other."""
        if connection.writer is None:
            sock.close()
            return
        transport = connection.writer.transport
        try:
            connection.writer.close()
            async with asyncio.timeout(0 if connection.evicted else self._limits.shutdown):
                await connection.writer.wait_closed()
        except (TimeoutError, OSError):
            pass
        finally:
            transport.abort()


async def _readable(sock: socket.socket) -> None:
    """Wait for the peer's first byte, or its end."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not arrived.done():
            arrived.set_result(None)

    loop.add_reader(sock, wake)
    try:
        await arrived
    finally:
        loop.remove_reader(sock)
