"""exec and attach over both transports: output, input, exit codes, resizes, refusals, and clients that vanish."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from controlplane.rest.streams.commands import MAX_RESIZE, ResizeDecoder
from tests.support.awaiting import eventually
from tests.support.streamclients import Spdy, WebSocket, Wire, handshake
from tests.support.streamserver import StreamServer

V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"
EXIT_3 = {"reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}}


def has(found: Any, **fields: Any) -> bool:
    return bool({**found, **fields} == found)


async def test_output_and_exit_code_over_spdy(server: StreamServer) -> None:
    """Three streams end, the status last, and GOAWAY after the client has closed."""
    client, _ = await Spdy.open(server, "exec?command=fail&command=3&stdin=0&container=side", V4, "v3.channel.k8s.io")
    error, out, err = await client.streams("error", "stdout", "stderr")
    await client.until(lambda c: c.finished == {error, out, err})
    assert client.accepted == {error, out, err}
    assert (client.data[out], client.data[err]) == (b"out\n", b"err\n")
    status = json.loads(client.data[error])
    assert has(status, status="Failure", **EXIT_3)
    await client.until(lambda c: c.away == 0 and c.closed)
    node, opening = server.router.openings[0]
    assert (node, opening.namespace, opening.pod, opening.container) == ("node-1", "default", "web", "side")
    assert server.router.withdrawn == 0


async def test_output_and_exit_code_over_a_websocket(server: StreamServer) -> None:
    """Channels 1, 2 and 3, then a normal close."""
    client = await WebSocket.open(server, "exec?command=fail&command=3", V5)
    status = await client.end()
    assert (client.channels[1], client.channels[2]) == (b"out\n", b"err\n")
    assert has(status, status="Failure", **EXIT_3)
    assert server.router.withdrawn == 0


async def test_success_is_a_status_too(server: StreamServer) -> None:
    """Exit code 0, and any of an attach."""
    assert await (await WebSocket.open(server, "exec?command=fail&command=0", V4)).end() == {
        "metadata": {},
        "status": "Success",
    }

    async def seven(process: Any) -> int:
        return 7

    server.router.commands["attach"] = seven
    assert (await (await WebSocket.open(server, "attach?stdout=1", V4)).end())["status"] == "Success"


async def test_a_command_that_cannot_start_is_told_in_words(server: StreamServer) -> None:
    """Over each protocol in its own way: a Status, or text before v4."""
    client = await WebSocket.open(server, "exec?command=missing", V5)
    status = await client.end()
    assert has(status, status="Failure", reason="BadRequest", code=400)
    assert "executable file not found" in status["message"]
    old, _ = await Spdy.open(server, "exec?command=missing", "v2.channel.k8s.io")
    error, _, _ = await old.streams("error", "stdout", "stderr")
    await old.until(lambda c: error in c.finished)
    assert old.data[error] == status["message"].encode()


async def test_older_protocols_say_nothing_of_success(server: StreamServer) -> None:
    """Their error stream is empty then."""
    client, _ = await Spdy.open(server, "exec?command=fail&command=0", "channel.k8s.io")
    error, _, _ = await client.streams("error", "stdout", "stderr")
    await client.until(lambda c: error in c.finished)
    assert client.data[error] == b""


async def test_input_flows_and_its_end_ends_cat_over_spdy(server: StreamServer) -> None:
    """More than any buffer, with FIN as the end, and pings answered meanwhile."""
    client, _ = await Spdy.open(server, "exec?command=cat&stdin=true", V5)
    error, stdin, out, _ = await client.streams("error", "stdin", "stdout", "stderr")
    content = bytes(range(256)) * 8192

    async def send() -> None:
        for start in range(0, len(content), 50_000):
            await client.write(stdin, content[start : start + 50_000])
        await client.send(bytes.fromhex("800300060000000400000005"))
        await client.write(stdin, b"", fin=True)

    sending = asyncio.ensure_future(send())
    await client.until(lambda c: error in c.finished and c.pongs)
    await sending
    assert client.data[out] == content
    assert json.loads(client.data[error])["status"] == "Success"
    assert client.pongs == [5]


async def test_input_flows_and_its_end_ends_cat_over_a_websocket(server: StreamServer) -> None:
    """v5 closes a channel by ff 00; a message may come in frames, and as text."""
    client = await WebSocket.open(server, "exec?command=cat&stdin=true", V5)
    content = bytes(range(256)) * 8192

    async def send() -> None:
        await client.send(TextMessage(data="\0text "))
        await client.send(BytesMessage(data=b"\0", message_finished=False))
        await client.send(BytesMessage(data=content))
        await client.send(Ping(payload=b"x"))
        await client.send(BytesMessage(data=b"\xff\1"))
        await client.send(BytesMessage(data=b"\xff\0"))
        await client.write(0, b"too late")

    sending = asyncio.ensure_future(send())
    assert (await client.end())["status"] == "Success"
    await sending
    assert client.channels[1] == b"text " + content
    assert client.pongs == 1
    assert max(map(len, client.messages)) <= (32 << 10) + 1


async def test_v4_has_no_close_of_a_channel(server: StreamServer) -> None:
    """ff 00 is ignored: the command runs until the client goes."""
    client = await WebSocket.open(server, "exec?command=cat&stdin=1", V4)
    await client.send(BytesMessage(data=b"\xff\0"))
    await client.write(0, b"still here")
    await client.until(lambda c: c.channels[1] == b"still here")
    await client.send(CloseConnection(code=1000))
    await client.until(lambda c: c.close_code == 1000)


@pytest.mark.parametrize("transport", ["spdy", "websocket"])
async def test_sizes_of_the_terminal_arrive(server: StreamServer, transport: str) -> None:
    """In the order in which they came, without those of a client that does not know its own."""
    sizes = b'{"Width":0,"Height":0}\n{"Width":80,"Height":24}\n'
    target = "exec?command=size&stdin=1&tty=1&stderr=1"
    if transport == "spdy":
        client, _ = await Spdy.open(server, target, V4)
        error, stdin, out, resize = await client.streams("error", "stdin", "stdout", "resize")
        await client.write(resize, sizes)
        await client.until(lambda c: resize in c.accepted)
        await asyncio.sleep(0.05)
        await client.write(stdin, b"\r")
        await client.until(lambda c: error in c.finished)
        assert client.data[out] == b"[(80, 24)]\n"
        assert len(client.finished) == 4
    else:
        socket = await WebSocket.open(server, target, V5)
        await socket.write(4, sizes)
        await socket.write(4, b'{"Width":100,"Height":30}')
        await socket.write(0, b"\n")
        await socket.end()
        assert socket.channels[1] == b"[(80, 24), (100, 30)]\n"


def test_resizes_in_pieces_and_what_is_none() -> None:
    """Numbers that are no sizes are dropped, and text without an end is not kept."""
    decoder = ResizeDecoder()
    text = b'{"Width":80,"Height":24}\n'
    assert [size for start in range(len(text)) for size in decoder.feed(text[start : start + 1])] == [(80, 24)]
    wrong = [
        b"{}", b'{"Width":-1,"Height":2}', b'{"Width":true,"Height":2}', b'{"Width":1e9,"Height":2}', b'{"Width":"1","Height":2}',
        b'{"Width":65536,"Height":2}', b"[1]}", b"{" * 5000 + b"}", b"\xff}", b'{"Width":NaN,"Height":1}',
    ]  # fmt: skip
    for item in wrong:
        assert ResizeDecoder().feed(item) == []
    assert decoder.feed(b"x" * (1 << 20)) == []
    assert len(decoder._text) <= MAX_RESIZE
    assert decoder.feed(text) == [(80, 24)]


async def test_a_refusal_is_an_ordinary_response(server: StreamServer) -> None:
    """Before the switch: an unknown container, a pod that has ended or has no node, a command without streams."""
    for target, code, message in (
        ("exec?command=cat&container=nope", 404, "container nope is not valid for pod web"),
        ("exec?container=main", 400, "at least one command"),
        ("exec?command=cat&stdout=0&stderr=0", 400, "at least 1 of"),
        ("portforward?ports=80,x", 400, "is not a port"),
        ("portforward", 400, "ports"),
    ):
        wire = await Wire.open(server, target, handshake(V4))
        assert wire.code == code
        assert message in (await wire.body())["message"]
        wire.writer.close()
    server.store.pod.status.phase = "Succeeded"
    wire = await Wire.open(server, "attach", handshake(V4))
    assert (wire.code, (await wire.body())["reason"]) == (400, "BadRequest")
    wire.writer.close()
    assert server.router.openings == []


async def test_streams_that_were_not_asked_for_are_refused(server: StreamServer) -> None:
    """Input that is off, a second output, a type that does not exist; the others are served."""
    client, _ = await Spdy.open(server, "exec?command=fail&command=0", V4)
    error, stdin, out, again, odd, none = (
        *await client.streams("error", "stdin", "stdout", "stdout", "odd"),
        await client.stream(),
    )
    await client.until(lambda c: len(c.resets) == 4)
    assert client.resets.keys() == {stdin, again, odd, none}
    (err,) = await client.streams("stderr")
    await client.until(lambda c: error in c.finished)
    assert (client.data[out], client.data[err]) == (b"out\n", b"err\n")


async def test_input_that_is_off_is_dropped(server: StreamServer) -> None:
    """A WebSocket has no refusal of a channel."""
    client = await WebSocket.open(server, "exec?command=fail&command=0", V5)
    await client.write(0, b"unasked")
    await client.write(9, b"no channel")
    assert (await client.end())["status"] == "Success"


async def test_bytes_that_come_with_the_request_are_read(server: StreamServer) -> None:
    """A client that does not wait for 101."""
    from tests.support.spdyclient import SpdyClient

    early = SpdyClient()
    syn = b"".join(early.open({"streamtype": type_})[1] for type_ in ("error", "stdout", "stderr"))
    client, _ = await Spdy.open(server, "exec?command=fail&command=0", V4, early=syn)
    await client.until(lambda c: c.finished == {1, 3, 5})
    assert client.data[3] == b"out\n"


async def test_streams_that_do_not_come_end_the_connection(server: StreamServer) -> None:
    """After the time that they have, without a command."""
    client, _ = await Spdy.open(server, "exec?command=cat", V4)
    await client.streams("error", "stdout")
    await client.until(lambda c: c.away == 0 and c.closed)
    assert server.router.openings == []


@pytest.mark.parametrize("transport", ["spdy", "websocket"])
async def test_a_client_that_vanishes_ends_the_command(server: StreamServer, transport: str) -> None:
    """Its stream to the node is closed at once."""
    if transport == "spdy":
        client, wire = await Spdy.open(server, "exec?command=deaf", V4)
        _, out, _ = await client.streams("error", "stdout", "stderr")
        await client.until(lambda c: c.data[out])
    else:
        socket = await WebSocket.open(server, "exec?command=deaf", V4)
        await socket.until(lambda c: c.channels[1])
        wire = socket.wire
    assert server.router.open == 1
    wire.vanish()
    await eventually(lambda: server.router.withdrawn == 1 and not server.tasks)


@pytest.mark.parametrize("transport", ["spdy", "websocket"])
async def test_a_client_that_vanishes_with_input_unread_ends_the_command(server: StreamServer, transport: str) -> None:
    """The connection is not being read, because the command reads nothing: its end shows nevertheless."""
    if transport == "spdy":
        client, wire = await Spdy.open(server, "exec?command=deaf&stdin=1", V4)
        _, stdin, out, _ = await client.streams("error", "stdin", "stdout", "stderr")
        await client.until(lambda c: c.data[out])
        await _fill(client.write(stdin, bytes(1 << 20)) for _ in range(1000))
    else:
        socket = await WebSocket.open(server, "exec?command=deaf&stdin=1", V4)
        await socket.until(lambda c: c.channels[1])
        await _fill(socket.write(0, bytes(1 << 20)) for _ in range(1000))
        wire = socket.wire
    assert server.router.open == 1
    wire.writer.transport.abort()
    await eventually(lambda: server.router.withdrawn == 1 and not server.tasks)


async def _fill(writes: Any) -> None:
    """Write until the server takes no more: back-pressure reaches the client."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.7):
            for write in writes:
                await write


async def test_a_client_that_waits_for_pongs_is_kept_while_its_input_is_not_read(server: StreamServer) -> None:
    """kubectl gives up after a minute without one; its pings are behind its input."""
    client = await WebSocket.open(server, "exec?command=deaf&stdin=1", V5)
    await client.until(lambda c: c.channels[1])
    await _fill(client.write(0, bytes(1 << 20)) for _ in range(1000))
    await client.until(lambda c: c.pongs >= 2)
    client.wire.vanish()


async def test_a_slow_reader_blocks_the_command_and_loses_nothing(server: StreamServer) -> None:
    """24 MiB for a client that reads nothing at first: the command stops long before, and all arrives in the end."""
    produced = 0

    async def flood(process: Any) -> int:
        nonlocal produced
        for _ in range(768):
            await process.stdout(bytes(32 << 10))
            produced += 1
        return 0

    server.router.commands["flood"] = flood
    client = await WebSocket.open(server, "exec?command=flood", V5)
    await asyncio.sleep(0.5)
    before = produced
    await asyncio.sleep(0.3)
    assert before == produced < 600
    assert (await client.end())["status"] == "Success"
    assert len(client.channels[1]) == 24 << 20


async def test_the_last_bytes_wait_for_a_client_that_reads_slowly(server: StreamServer) -> None:
    """A pager: the command has ended, the client takes its time, longer than the server lingers, and sends pings."""
    client = await WebSocket.open(server, "exec?command=flood&command=300", V5)
    for _ in range(10):
        await asyncio.sleep(0.1)
        await client.send(Ping())
    assert (await client.end())["status"] == "Success"
    assert len(client.channels[1]) == 300 << 10


async def test_input_that_is_left_when_the_command_ends_does_not_block_its_end(server: StreamServer) -> None:
    """`head -1` of a large file: the client is still sending."""

    async def head(process: Any) -> int:
        await process.stdin()
        return 0

    server.router.commands["head"] = head
    client = await WebSocket.open(server, "exec?command=head&stdin=1", V5)

    frame = client.peer.send(BytesMessage(data=bytes(1 << 20)))

    async def send() -> None:
        for _ in range(64):
            client.wire.writer.write(frame)
            await client.wire.writer.drain()

    sending = asyncio.ensure_future(send())
    await client.until(lambda c: c.close_code == 1000)
    sending.cancel()
    assert json.loads(client.channels[3])["status"] == "Success"
    client.wire.writer.close()


async def test_a_node_that_is_lost_is_told(server: StreamServer) -> None:
    """The stream ends without an exit, as when the agent is killed."""

    async def lost(process: Any) -> int:
        await process.queue.put(None)
        await asyncio.Event().wait()
        return 0

    server.router.commands["lost"] = lost
    status = await (await WebSocket.open(server, "exec?command=lost", V5)).end()
    assert has(status, status="Failure", reason="InternalError")
    assert "lost connection" in status["message"]


@pytest.mark.parametrize("noise", [b"\0" * 100, b"GET / HTTP/1.1\r\n\r\n", bytes(range(256))], ids=["zeros", "http", "bytes"])
async def test_noise_ends_the_connection_and_the_command(server: StreamServer, noise: bytes) -> None:
    """GOAWAY, or the WebSocket's close, and nothing is left."""
    client, wire = await Spdy.open(server, "exec?command=deaf", V4)
    _, out, _ = await client.streams("error", "stdout", "stderr")
    await client.until(lambda c: c.data[out])
    await client.send(noise)
    await client.until(lambda c: c.away == 1 and c.closed)
    socket = await WebSocket.open(server, "exec?command=deaf", V4)
    await socket.until(lambda c: c.channels[1])
    socket.wire.writer.write(noise)
    await socket.until(lambda c: c.close_code == 1002)
    await wire.ended()
    await eventually(lambda: server.router.withdrawn == 2)


async def test_the_end_of_the_server_ends_the_command(server: StreamServer) -> None:
    """As when the control plane stops."""
    client = await WebSocket.open(server, "exec?command=deaf&stdin=1", V5)
    await client.until(lambda c: c.channels[1])
    for task in [*server.tasks]:
        task.cancel()
    await client.wire.ended()
    assert (server.router.open, server.router.withdrawn) == (0, 1)
