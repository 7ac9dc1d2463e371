"""Clients of DNS servers for tests: raw messages over UDP and TCP."""

from __future__ import annotations

import asyncio
import socket

Address = tuple[str, int]


async def by_udp(address: Address, *queries: bytes, seconds: float = 8.0) -> list[bytes]:
    """What comes back for queries from one socket, until there are as many answers or the time is over."""
    loop = asyncio.get_running_loop()
    answers: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(address)
        for query in queries:
            await loop.sock_sendall(sock, query)
        try:
            async with asyncio.timeout(seconds):
                while len(answers) < len(queries):
                    answers.append(await loop.sock_recv(sock, 65535))
        except TimeoutError:
            pass
    return answers


async def by_tcp(address: Address, *queries: bytes) -> list[bytes]:
    """One connection for all, half closed after the last query."""
    reader, writer = await asyncio.open_connection(*address)
    for query in queries:
        writer.write(len(query).to_bytes(2, "big") + query)
    writer.write_eof()
    answers = []
    try:
        while True:
            answers.append(await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big")))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()
    return answers


def code(message: bytes) -> int:
    return message[3] & 15
