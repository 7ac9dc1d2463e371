"""One query to the resolvers of this machine, in the order of its resolv.conf, as its own resolver would ask.

Each query has a socket of its own that is connected to the resolver, and an identity of its own: an answer must come from
that resolver to that port with that identity and question.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from pathlib import Path

from cli.lab import resolvconf
from cli.lab.dns import messages
from pinnace.clock import Clock

PORT = 53
# Seconds for one resolver, and between looks at resolv.conf.
ANSWER_WITHIN = 3.0
REREAD = 1.0
# Family, and the socket address of that family.
Address = tuple[int, tuple[object, ...]]


class Resolvers:
    """The name servers of a resolv.conf, read again when it changes."""

    def __init__(self, path: Path, clock: Clock, port: int = PORT) -> None:
        self._path = path
        self._clock = clock
        self.port = port
        self._read_at = float("-inf")
        self._servers: list[str] = []

    def servers(self) -> list[str]:
        """The last ones known while the file cannot be read."""
        now = self._clock.monotonic()
        if now - self._read_at >= REREAD:
            self._read_at = now
            try:
                self._servers = resolvconf.servers(self._path.read_text(errors="replace"))
            except OSError:
                self._servers = self._servers or resolvconf.servers("")
        return self._servers


async def resolve(resolvers: Resolvers, query: bytes, *, tcp: bool) -> bytes:
    """The response for `query`: the first resolver's that has one, else a failure. Never raises for what a resolver does."""
    own = messages.with_identity(query, secrets.randbelow(1 << 16))
    exchange = _over_tcp if tcp else _over_udp
    last = messages.failure(query, messages.SERVFAIL)
    for server in resolvers.servers():
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                response = await exchange(_address(server, resolvers.port), own)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            continue
        last = messages.with_identity(response, messages.identity(query))
        if messages.rcode(response) not in (messages.SERVFAIL, messages.NOTIMP, messages.REFUSED):
            break
    return last


def _address(server: str, port: int) -> Address:
    """Family and socket address, without a lookup: name servers are numbers."""
    if ":" not in server:
        return socket.AF_INET, (server, port)
    address, _, zone = server.partition("%")
    scope = 0
    if zone:
        scope = int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
    return socket.AF_INET6, (address, port, 0, scope)


class _Reply(asyncio.DatagramProtocol):
    """The first datagram that answers; others are not looked at."""

    def __init__(self, query: bytes) -> None:
        self._query = query
        self.response: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, address: object) -> None:
        if not self.response.done() and messages.answers(self._query, data):
            self.response.set_result(data)

    def error_received(self, error: Exception) -> None:
        # ICMP: no server listens there.
        if not self.response.done():
            self.response.set_exception(error)


async def _over_udp(target: Address, query: bytes) -> bytes:
    sock = _socket(target, socket.SOCK_DGRAM)
    try:
        sock.connect(target[1])
    except BaseException:
        sock.close()
        raise
    transport, reply = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Reply(query), sock=sock)
    try:
        transport.sendto(query)
        return await reply.response
    finally:
        transport.close()


async def _over_tcp(target: Address, query: bytes) -> bytes:
    sock = _socket(target, socket.SOCK_STREAM)
    try:
        await asyncio.get_running_loop().sock_connect(sock, target[1])
        reader, writer = await asyncio.open_connection(sock=sock)
    except BaseException:
        sock.close()
        raise
    try:
        writer.write(len(query).to_bytes(2, "big") + query)
        response = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    finally:
        writer.close()
    if not messages.answers(query, response):
        raise OSError("the answer is to another question")
    return response


def _socket(target: Address, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(target[0], kind)
    sock.setblocking(False)
    return sock
