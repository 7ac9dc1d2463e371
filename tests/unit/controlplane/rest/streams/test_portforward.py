"""port-forward: pairs of SPDY streams, in a WebSocket too, and channels, to real ports of this machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from wsproto.events import BytesMessage, CloseConnection

from controlplane.rest.streams.spdyforwards import MAX_PAIRS
from tests.support.awaiting import eventually
from tests.support.streamclients import Spdy, WebSocket
from tests.support.streamserver import StreamServer

V4, TUNNEL = "v4.channel.k8s.io", "SPDY/3.1+portforward.k8s.io"
# Nothing listens there: the port of the server's own client, for a moment.
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def port(serve: Serve) -> AsyncIterator[int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers once the client has half-closed."""
    writer.write((await reader.read()).upper())
    await writer.drain()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says something and hangs up."""
    writer.write(b"bye")
    await writer.drain()


async def pair(client: Spdy, number: int, request: int) -> tuple[int, int]:
    """The error and the data stream of a connection, as client-go opens them."""
    error = await client.stream(streamtype="error", port=str(number), requestid=str(request))
    await client.write(error, b"", fin=True)
    return error, await client.stream(streamtype="data", port=str(number), requestid=str(request))


@contextlib.asynccontextmanager
async def connected(server: StreamServer, transport: str) -> AsyncIterator[Spdy]:
    if transport == "spdy":
        client, _ = await Spdy.open(server, "portforward", "portforward.k8s.io")
        yield client
    else:
        yield (await WebSocket.open(server, "portforward", TUNNEL)).tunnel()


@pytest.mark.parametrize("transport", ["spdy", "tunnel"])
async def test_connections_share_one_and_keep_half_closes(server: StreamServer, transport: str) -> None:
    """Two at once; the client ends its direction, the port answers, and the error stream ends empty."""
    async with port(upper) as number, connected(server, transport) as client:
        pairs = [await pair(client, number, request) for request in (0, 1)]
        for text, (_, data) in zip((b"one", b"two"), pairs, strict=True):
            await client.write(data, text)
        for _, data in pairs:
            await client.write(data, b"!", fin=True)
        await client.until(lambda c: c.finished == {stream for both in pairs for stream in both})
        assert [client.data[data] for _, data in pairs] == [b"ONE!", b"TWO!"]
        assert [client.data[error] for error, _ in pairs] == [b"", b""]
        assert server.router.withdrawn == 0


@pytest.mark.parametrize("transport", ["spdy", "tunnel"])
async def test_megabytes_both_ways(server: StreamServer, transport: str) -> None:
    """Byte for byte, in frames of any size."""
    content = bytes(range(256)) * 20_000
    async with port(echo) as number, connected(server, transport) as client:
        error, data = await pair(client, number, 7)

        async def send() -> None:
            for start in range(0, len(content), 77_777):
                await client.write(data, content[start : start + 77_777])
            await client.write(data, b"", fin=True)

        sending = asyncio.ensure_future(send())
        await client.until(lambda c: error in c.finished and data in c.finished)
        await sending
        assert client.data[data] == content


async def test_messages_of_the_tunnel_have_no_meaning(server: StreamServer) -> None:
    """SPDY's bytes one by one, and empty messages between them."""
    async with port(upper) as number:
        socket = await WebSocket.open(server, "portforward", TUNNEL)
        client = socket.tunnel()

        async def one_by_one(data: bytes) -> None:
            for byte in data:
                await socket.send(BytesMessage(data=bytes((byte,))))
                await socket.send(BytesMessage(data=b""))

        client.send = one_by_one
        error, data = await pair(client, number, 0)
        await client.write(data, b"abc", fin=True)
        await client.until(lambda c: {error, data} <= c.finished)
        assert client.data[data] == b"ABC"
        await socket.send(CloseConnection(code=1000))
        await socket.until(lambda s: s.close_code is not None)


async def test_a_port_that_refuses_is_told_on_the_error_stream(server: StreamServer) -> None:
    """In the kubelet's words; other connections are served."""
    async with port(upper) as number, connected(server, "spdy") as client:
        async with port(upper) as closed:
            pass
        error, data = await pair(client, closed, 0)
        await client.until(lambda c: {error, data} <= c.finished)
        assert client.data[error].startswith(f"error forwarding port {closed} to pod web: cannot connect".encode())
        error, data = await pair(client, number, 1)
        await client.write(data, b"x", fin=True)
        await client.until(lambda c: {error, data} <= c.finished)
        assert (client.data[error], client.data[data]) == (b"", b"X")


async def test_a_data_stream_that_is_reset_ends_its_connection(server: StreamServer) -> None:
    """client-go resets it once its own connection is over, and waits for the error stream."""
    async with port(echo) as number, connected(server, "spdy") as client:
        error, data = await pair(client, number, 0)
        await client.write(data, b"x")
        await client.until(lambda c: c.data[data] == b"x")
        assert server.router.open == 1
        await client.send(bytes.fromhex("8003000300000008") + data.to_bytes(4, "big") + (5).to_bytes(4, "big"))
        await client.until(lambda c: error in c.finished)
        await eventually(lambda: server.router.open == 0)


async def test_streams_that_are_no_pair_are_refused(server: StreamServer) -> None:
    """No port, no number, no type, a type twice, two ports; and a half of a pair is given up after a while."""
    async with connected(server, "spdy") as client:
        wrong = [
            await client.stream(streamtype="error", requestid="1"),
            await client.stream(streamtype="error", requestid="1", port="70000"),
            await client.stream(streamtype="error", port="80"),
            await client.stream(streamtype="stdin", port="80", requestid="1"),
        ]
        half = await client.stream(streamtype="error", port="80", requestid="2")
        wrong += [
            await client.stream(streamtype="error", port="80", requestid="2"),
            await client.stream(streamtype="data", port="81", requestid="2"),
        ]
        await client.until(lambda c: c.resets.keys() == set(wrong))
        await client.until(lambda c: half in c.finished)
        assert server.router.openings == []


async def test_connections_are_limited(server: StreamServer) -> None:
    """One more pair than there may be is refused, and no connection is made for it."""
    async with port(echo) as number, connected(server, "spdy") as client:
        for request in range(MAX_PAIRS):
            await pair(client, number, request)
        error = await client.stream(streamtype="error", port=str(number), requestid="x")
        await client.until(lambda c: error in c.resets)
        await eventually(lambda: server.router.open == MAX_PAIRS)


@pytest.mark.parametrize("protocol", ["", V4, "v5.channel.k8s.io,v4.channel.k8s.io"])
async def test_channels_begin_with_their_ports(server: StreamServer, protocol: str) -> None:
    """Two bytes in little-endian order for each of data and error; the end of all ports closes the WebSocket."""
    async with port(greet) as first, port(greet) as second:
        client = await WebSocket.open(server, f"portforward?ports={first},{second}", protocol)
        await client.until(lambda c: c.close_code is not None)
        starts = [first.to_bytes(2, "little")] * 2 + [second.to_bytes(2, "little")] * 2
        assert client.messages[:4] == [bytes((channel,)) + start for channel, start in enumerate(starts)]
        assert client.channels[0] == starts[0] + b"bye"
        assert client.channels[2] == starts[2] + b"bye"
        assert (client.channels[1], client.channels[3]) == (starts[1], starts[3])
        assert client.close_code == 1000


async def test_channels_carry_both_ways_and_tell_errors(server: StreamServer) -> None:
    """Of two ports one refuses: its error channel has the reason, and the other carries data until the client closes."""
    async with port(echo) as number:
        async with port(echo) as closed:
            pass
        client = await WebSocket.open(server, f"portforward?ports={number}&ports={closed}", V4)
        await client.write(0, b"ping")
        await client.write(9, b"no such channel")
        await client.write(1, b"not for clients")
        await client.until(lambda c: c.channels[0].endswith(b"ping") and len(c.channels[3]) > 2)
        assert client.channels[3][2:].startswith(f"error forwarding port {closed} to pod web".encode())
        await client.send(CloseConnection(code=1000))
        await client.until(lambda c: c.close_code == 1000)
    await eventually(lambda: server.router.open == 0)


@pytest.mark.parametrize("transport", ["spdy", "tunnel", "channels"])
async def test_a_client_that_vanishes_ends_its_connections(server: StreamServer, transport: str) -> None:
    """With the port silent and its bytes unread."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1)

    async with port(silent) as number:
        if transport == "channels":
            socket = await WebSocket.open(server, f"portforward?ports={number}", V4)
            frame = socket.peer.send(BytesMessage(data=bytes(1 << 20)))
            await _fill(socket.wire.writer, frame)
        else:
            async with connected(server, transport) as client:
                await pair(client, number, 0)
                await eventually(lambda: server.router.open == 1)
                await _fill(server.clients[-1], b"")
        assert server.router.open == 1
        server.clients[-1].transport.abort()
        await eventually(lambda: server.router.open == 0 and not server.tasks)


async def _fill(writer: asyncio.StreamWriter, frame: bytes) -> None:
    """Write `frame` until the server takes no more."""
    if frame:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                while True:
                    writer.write(frame)
                    await writer.drain()
