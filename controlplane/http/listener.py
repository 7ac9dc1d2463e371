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
import ipaddress
import logging
import socket
import ssl
from asyncio import sslproto
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pinnace.clock import Clock

log = logging.getLogger("pinnace.listener")
BACKLOG = 1024
# Seconds until accept is tried again after the process or the machine ran out of descriptors.
EXHAUSTED = 0.1
# Connections that are being closed, in addition to the limit.
CLOSING = 64
MAX_PEERS = 4096
# asyncio allocates this much for each TLS connection, by default 256 KiB. One TLS record fits.
sslproto.SSLProtocol.max_size = 17 << 10


@dataclass(frozen=True, slots=True)
class Limits:
    """Counts of connections; durations in seconds; handshakes of one address: `burst` at once, `rate` per second."""

    connections: int = 256
    per_peer: int = 64
    serving: int = 64
    clients: int = 1024
    per_user: int = 512
    request: float = 10.0
    response: float = 10.0
    shutdown: float = 2.0
    rate: float = 50.0
    burst: float = 200.0
    buffer: int = 32 << 10

    @classmethod
    def within(cls, open_files: int) -> Limits:
        """Of the process's descriptors strangers have an eighth at most and clients a quarter: the gRPC port and the store have
        the others."""
        clients = max(64, min(8192, open_files // 4))
        return cls(connections=max(16, min(256, open_files // 8)), clients=clients, per_user=clients // 2)


class _Reader(asyncio.StreamReader):
    """Tells of the peer's end at once, also while nothing is read."""

    on_eof: Callable[[], None] | None = None

    def feed_eof(self) -> None:
        super().feed_eof()
        if self.on_eof is not None:
            self.on_eof()


@dataclass(slots=True, eq=False)
class Connection:
    """One accepted connection. `serving`: its request is complete, and it is not closed to make room. `user`: its owner,
    empty for a stranger's."""

    peer: str
    reader: _Reader
    limits: Limits
    admitted: Callable[[Connection, str], bool]
    serves: Callable[[], int]
    writer: asyncio.StreamWriter | None = None
    task: asyncio.Task[None] | None = None
    deadline: asyncio.Timeout | None = None
    user: str = ""
    serving: bool = False
    evicted: bool = False

    def expect(self, seconds: float | None) -> None:
        """From now on the connection is closed after so long, or not at all. Nothing if it is being closed."""
        if self.deadline is None or self.deadline.expired():
            return
        self.deadline.reschedule(None if seconds is None else asyncio.get_running_loop().time() + seconds)

    def admit(self, user: str) -> bool:
        """The connection is a known user's. False when the user, or all together, have too many that are busy."""
        return self.user == user or self.admitted(self, user)

    def begin(self) -> bool:
        """The request is complete. False when too many strangers are served."""
        self.serving = bool(self.user) or self.serves() < self.limits.serving
        self.expect(None if self.user else self.limits.response)
        return self.serving

    def end(self, keep_alive: float) -> None:
        """The response is sent: the connection is idle, for so many seconds at most."""
        self.serving = False
        self.expect(keep_alive)

    def grace(self) -> float | None:
        """Seconds until the deadline, which becomes later by the time that an answer takes; None without a deadline."""
        when = self.deadline.when() if self.deadline is not None else None
        if when is None:
            return None
        seconds = when - asyncio.get_running_loop().time()
        self.expect(seconds + self.limits.shutdown)
        return seconds

    def end_with_peer(self, *, wanted: bool) -> None:
        """Whether the end of the peer's stream ends the connection, even while nothing is read."""
        self.reader.on_eof = (lambda: self.expect(0)) if wanted else None
        if wanted and self.reader.at_eof():
            self.expect(0)


Handler = Callable[[Connection], Awaitable[None]]
"""Serves a connection after its handshake, until it is to be closed."""


class Listener:
    def __init__(self, handle: Handler, tls: Callable[[], ssl.SSLContext], clock: Clock, limits: Limits) -> None:
        """`tls` is asked for every connection, so that a new certificate needs no new listener."""
        self._handle = handle
        self._tls = tls
        self._limits = limits
        self._handshakes = _Allowance(clock, limits.rate, limits.burst)
        self._sockets: list[socket.socket] = []
        # In the order in which they were accepted.
        self._connections: dict[Connection, None] = {}
        self._room = asyncio.Event()

    async def open(self, host: str, port: int) -> None:
        """Listen. Raises OSError."""
        loop = asyncio.get_running_loop()
        host = host.strip("[]")
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, *_, address in dict.fromkeys(found):
            # As gRPC does: [::] is IPv4 too.
            both = host == "::" and socket.has_dualstack_ipv6()
            made = socket.create_server(address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=both)
            made.setblocking(False)
            self._sockets.append(made)

    def adopt(self, descriptor: int) -> None:
        """Also accept on a listening TCP socket that the parent process has opened. Raises OSError."""
        made = socket.socket(fileno=descriptor)
        if not made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(errno.EINVAL, f"descriptor {descriptor} is no listening socket")
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
            tasks = [connection.task for connection in self._connections if connection.task]
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
            peer = _peer(address[0])
            if self._make_room(peer):
                self._start(sock, peer)
            else:
                sock.close()
            # sock_accept does not yield while connections are waiting.
            await asyncio.sleep(0)
            while sum(not found.user for found in self._connections) >= self._limits.connections + CLOSING:
                self._room.clear()
                await self._room.wait()

    def _make_room(self, peer: str) -> bool:
        """Evict a connection where the limits say so; False when all that count are being served."""
        counted = [found for found in self._connections if not found.evicted and not found.user]
        of_peer = [found for found in counted if found.peer == peer]
        if len(of_peer) >= self._limits.per_peer:
            return self._evict(of_peer)
        if len(counted) < self._limits.connections:
            return True
        waiting = [found for found in counted if not found.serving]
        counts = Counter(found.peer for found in waiting)
        most = max(counts.values(), default=0)
        return self._evict([found for found in waiting if counts[found.peer] == most])

    def _admit(self, connection: Connection, user: str) -> bool:
        known = [found for found in self._connections if found.user and not found.evicted and found is not connection]
        own = [found for found in known if found.user == user]
        full = len(own) >= self._limits.per_user or len(known) >= self._limits.clients
        if full and not self._evict(own):
            return False
        connection.user = user
        self._room.set()
        return True

    def _serving(self) -> int:
        """Strangers that are being served."""
        return sum(found.serving and not found.user for found in self._connections)

    def _evict(self, candidates: list[Connection]) -> bool:
        for found in candidates:
            if not found.serving and found.task is not None:
                found.evicted = True
                found.task.cancel()
                return True
        return False

    def _start(self, sock: socket.socket, peer: str) -> None:
        connection = Connection(peer, _Reader(limit=self._limits.buffer), self._limits, self._admit, self._serving)
        self._connections[connection] = None
        connection.task = asyncio.create_task(self._run(connection, sock))

        def done(task: asyncio.Task[None]) -> None:
            del self._connections[connection]
            self._room.set()
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
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(connection.reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, sock, ssl=self._tls(), ssl_handshake_timeout=self._limits.request,
            ssl_shutdown_timeout=self._limits.shutdown,
        )  # fmt: skip
        # What is written has left once `drain` returns (sslproto never resumes with a high-water mark of 0).
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


def _peer(address: str) -> str:
    """What limits are per: an IPv4 address, or the /64 that an IPv6 host has for itself."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.ip_network((int(found) >> 64 << 64, 64)))
    return str(found)


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


class _Allowance:
    """A token bucket for each peer (`burst` at once, `rate` a second), of the peers that were seen last."""

    def __init__(self, clock: Clock, rate: float, burst: float) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, peer: str) -> bool:
        now = self._clock.monotonic()
        left, since = self._left.pop(peer, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        allowed = left >= 1
        self._left[peer] = (left - allowed, now)
        if len(self._left) > MAX_PEERS:
            del self._left[next(iter(self._left))]
        return allowed
