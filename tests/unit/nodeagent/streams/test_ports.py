"""Connections of the agent to ports of pods, with and without TLS."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nodeagent.streams.ports import Port, connect
from pinnace import pki
from pinnace.errors import BadRequest


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 hello\r\n")
    writer.close()


@asynccontextmanager
async def served(tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that greets."""
    server = await asyncio.start_server(_greet, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def self_signed(folder: Path) -> ssl.SSLContext:
    ca = pki.new_ca(time.time())
    pair = pki.issue(ca, "pod", (), now=time.time(), hosts=("pod.example",))
    (folder / "pair.pem").write_bytes(pair.key + pair.certificate)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(folder / "pair.pem")
    return made


async def said(port: Port) -> bytes:
    reader, writer = await connect(port)
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_a_port_with_and_without_tls(tmp_path: Path) -> None:
    """A certificate that nothing vouches for will do."""
    async with served() as plain, served(self_signed(tmp_path)) as secure:
        assert await said(Port(None, "127.0.0.1", plain)) == b"220 hello\r\n"
        assert await said(Port(None, "127.0.0.1", secure, tls=True)) == b"220 hello\r\n"


async def test_a_port_of_ipv6() -> None:
    """At the pod's own address, and on its localhost, where what listens may do so in IPv6 alone."""
    server = await asyncio.start_server(_greet, "::1", 0)
    number = server.sockets[0].getsockname()[1]
    try:
        assert await said(Port(None, "::1", number)) == b"220 hello\r\n"
        assert await said(Port(None, "127.0.0.1", number)) == b"220 hello\r\n"
    finally:
        server.close()
    with pytest.raises(BadRequest, match=r"cannot connect to \[::1\]:[0-9]+ in the pod: Connection refused"):
        await connect(Port(None, "::1", number))


async def test_a_port_that_cannot_be_connected_to_says_why() -> None:
    """Nothing listens, or what listens has no TLS."""
    async with served() as plain:
        with pytest.raises(BadRequest, match=r"cannot connect to 127\.0\.0\.1:[0-9]+ in the pod: no TLS handshake"):
            await connect(Port(None, "127.0.0.1", plain, tls=True))
    with pytest.raises(BadRequest, match="in the pod: Connection refused"):
        await connect(Port(None, "127.0.0.1", plain))
