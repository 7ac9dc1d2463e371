"""Clients that do what comes to mind and vanish at any moment: nothing escapes, and nothing is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest
from wsproto.events import BytesMessage, CloseConnection

from controlplane.http.messages import UpgradedConnection
from controlplane.rest.streams import spdyframes
from controlplane.rest.streams.connection import ClientConnection
from tests.support.streamclients import Spdy, WebSocket, Wire
from tests.support.streamserver import StreamServer

COMMANDS = ("cat", "count", "deaf", "flood&command=2000", "fail&command=3")
CLIENTS, ROUNDS = 16, 4


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    listening = await asyncio.start_server(echo, "127.0.0.1", 0)
    yield listening.sockets[0].getsockname()[1]
    listening.close()


async def commands_over_spdy(server: StreamServer, chance: random.Random, port: int) -> Wire:
    client, wire = await Spdy.open(server, f"exec?command={chance.choice(COMMANDS)}&stdin=1", "v4.channel.k8s.io")
    _, stdin, *_ = await client.streams("error", "stdin", "stdout", "stderr")
    for _ in range(chance.randint(0, 5)):
        wire.writer.write(_data(stdin, chance))
        if chance.random() < 0.1:
            wire.writer.write(chance.randbytes(20))
    return wire


def _data(stream: int, chance: random.Random) -> bytes:
    return spdyframes.data(stream, bytes(chance.randint(0, 300_000)), fin=chance.random() < 0.2)


async def commands_over_websocket(server: StreamServer, chance: random.Random, port: int) -> Wire:
    client = await WebSocket.open(server, f"exec?command={chance.choice(COMMANDS)}&stdin=1", "v5.channel.k8s.io")
    writer = client.wire.writer
    for _ in range(chance.randint(0, 5)):
        channel = bytes((chance.choice((0, 0, 0, 4, 255)),))
        writer.write(client.peer.send(BytesMessage(data=channel + chance.randbytes(chance.randint(0, 300_000)))))
        if chance.random() < 0.1:
            writer.write(chance.randbytes(20))
    if chance.random() < 0.3:
        writer.write(client.peer.send(CloseConnection(code=1000)))
    return client.wire


async def ports_over_spdy(server: StreamServer, chance: random.Random, port: int) -> Wire:
    client, wire = await Spdy.open(server, "portforward", "portforward.k8s.io")
    streams = []
    for number in range(chance.randint(1, 10)):
        target = str(port if chance.random() < 0.8 else 1)
        for type_ in ("error", "data"):
            streams.append(await client.stream(streamtype=type_, port=target, requestid=str(number)))
    for _ in range(chance.randint(0, 20)):
        stream = chance.choice(streams)
        reset = bytes.fromhex("8003000300000008") + stream.to_bytes(4, "big") + (5).to_bytes(4, "big")
        wire.writer.write(reset if chance.random() < 0.1 else _data(stream, chance))
    return wire


async def ports_over_channels(server: StreamServer, chance: random.Random, port: int) -> Wire:
    client = await WebSocket.open(server, f"portforward?ports={port},1", "v4.channel.k8s.io")
    for _ in range(chance.randint(0, 5)):
        data = b"\0" + chance.randbytes(chance.randint(0, 300_000))
        client.wire.writer.write(client.peer.send(BytesMessage(data=data)))
    return client.wire


KINDS = (commands_over_spdy, commands_over_websocket, ports_over_spdy, ports_over_channels)


@pytest.mark.parametrize("seed", range(3))
async def test_clients_that_come_and_go(server: StreamServer, port: int, seed: int) -> None:
    """The fixture fails on what is left of them, and on exceptions that were logged."""
    chance = random.Random(seed)

    async def client(own: random.Random) -> None:
        wire = await own.choice(KINDS)(server, own, port)
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(own.random() * 0.5):
                while await wire.reader.read(1 << 16):
                    pass
        wire.vanish() if own.random() < 0.5 else wire.writer.close()

    for _ in range(ROUNDS):
        await asyncio.gather(*(client(random.Random(chance.random())) for _ in range(CLIENTS)))
    assert {code for _, code in server.served} <= {101}


async def test_a_connection_that_is_closed_has_nothing_to_deliver(server: StreamServer) -> None:
    """The client reset it between the last byte and the look whether that has arrived."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    connection = ClientConnection(UpgradedConnection(reader, writer, b""))
    writer.transport.abort()
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        await connection.delivered()
    with pytest.raises(ConnectionResetError):
        await connection.write(b"late")
