"""One exchange with another name server.

Each query has a socket of its own that is connected to the server, a port that the kernel chooses at random, and an identity of
its own: a response must come from that server to that port with that identity and question.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Sequence

from pinnace.dns import messages

PORT = 53
# Family, and the socket address of that family.
Address = tuple[int, tuple[object, ...]]
# What other servers may answer better.
UNHELPFUL = (messages.SERVFAIL, messages.NOTIMP, messages.REFUSED)


async def ask_in_turn(servers: Sequence[str], query: bytes, *, tcp: bool, within: float, port: int = PORT) -> bytes:
    """The response of the first server that has one, each within so many seconds; else a failure. Raises nothing for what a
    server does."""
    last = messages.failure(query, messages.SERVFAIL)
    for server in servers:
        try:
            async with asyncio.timeout(within):
                response = await exchange(address_of(server, port), query, tcp=tcp)
        except (OSError, TimeoutError):
            continue
        last = response
        if messages.rcode(response) not in UNHELPFUL:
            break
    return last


async def exchange(target: Address, query: bytes, *, tcp: bool) -> bytes:
    """The response to `query`, which is sent with an identity of its own; without a deadline. Raises OSError."""
    own = messages.with_identity(query, secrets.randbelow(1 << 16))
    response = await (_over_tcp if tcp else _over_udp)(target, own)
    return messages.with_identity(response, messages.identity(query))


def address_of(server: str, port: int = PORT) -> Address:
    """Family and socket address, without a lookup: name servers are numbers, IPv6 ones with their zone (fe80::1%eth0). Raises
    OSError for a zone that is not there."""
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
    except asyncio.IncompleteReadError:
        raise ConnectionResetError("the server has closed the connection") from None
    finally:
        writer.close()
    if not messages.answers(query, response):
        raise OSError("the answer is to another question")
    return response


def _socket(target: Address, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(target[0], kind)
    sock.setblocking(False)
    return sock
