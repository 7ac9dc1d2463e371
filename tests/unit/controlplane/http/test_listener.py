"""The HTTPS port under abuse: connections that say nothing, and what a client that means it still gets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.access.identity import of_certificate
from controlplane.http.connection import Connection
from controlplane.http.limits import Limits
from controlplane.http.listener import Listener
from controlplane.http.messages import Request, Response
from controlplane.http.places import peer_of
from controlplane.http.server import STRANGERS_BODY, Web
from pinnace import pki
from pinnace.clock import Clock, SystemClock, VirtualClock
from pinnace.errors import ApiError
from tests.support.awaiting import eventually
from tests.support.labs import PATIENCE

NOW = time.time()
CA = pki.new_ca(NOW)
SERVER = pki.issue(CA, pki.SERVER_NAME, (), now=NOW, hosts=(pki.SERVER_NAME,))
LIMITS = Limits(connections=40, per_peer=16, serving=4, request=2.0, response=2.0, shutdown=0.3, burst=2000.0)
HELLO = b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n"


def context(folder: Path, pair: pki.Pair, purpose: int) -> ssl.SSLContext:
    made = ssl.SSLContext(purpose)
    made.load_verify_locations(cadata=CA.certificate.decode())
    (folder / "pair.pem").write_bytes(pair.key + pair.certificate)
    made.load_cert_chain(folder / "pair.pem")
    return made


class Port:
    """A listener with a few pages, and clients of it."""

    def __init__(self, listener: Listener, folder: Path, gate: asyncio.Event, pages: Pages) -> None:
        self.listener = listener
        self.folder = folder
        # Requests for /slow are answered once it is set.
        self.gate = gate
        self.pages = pages

    def client(self, *groups: str) -> ssl.SSLContext:
        """TLS as a stranger, or with a certificate of these groups."""
        if groups:
            return context(self.folder, pki.issue(CA, "someone", groups, now=NOW), ssl.PROTOCOL_TLS_CLIENT)
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.load_verify_locations(cadata=CA.certificate.decode())
        return made

    async def idle(self, source: str = "127.0.0.1") -> socket.socket:
        """A TCP connection that says nothing."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.listener.port))
        return sock

    async def tls(
        self, tls: ssl.SSLContext | None = None, source: str = "127.0.0.1"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(
            "127.0.0.1", self.listener.port, ssl=tls or self.client(), server_hostname=pki.SERVER_NAME, local_addr=(source, 0)
        )

    async def ask(self, request: bytes = HELLO, *, tls: ssl.SSLContext | None = None, source: str = "127.0.0.1") -> bytes:
        """The whole answer to one request."""
        reader, writer = await self.tls(tls, source)
        try:
            writer.write(request)
            return await reader.read()
        finally:
            await hang_up(writer)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()


class Pages:
    """An application with a page that waits, a large one, and one that sends pieces until it is closed."""

    def __init__(self, gate: asyncio.Event) -> None:
        self.gate = gate
        self.closed = asyncio.Event()

    async def identify(self, request: Request, certificate: bytes) -> Request:
        return replace(request, identity=of_certificate(certificate)) if certificate else request

    def streams(self, request: Request) -> bool:
        return False

    def refuse(self, error: ApiError) -> Response:
        return Response(error.message.encode(), status=error.http)

    async def respond(self, request: Request) -> Response:
        if request.path == "/slow":
            await self.gate.wait()
            return Response(b"at last")
        if request.path == "/large":
            return Response(b"x" * (4 << 20))
        if request.path == "/pieces":
            return Response(self._pieces())
        return Response(request.path.encode() + request.body)

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        try:
            yield b"first"
            await self.gate.wait()
            yield b"last"
        finally:
            self.closed.set()


@asynccontextmanager
async def port(folder: Path, limits: Limits = LIMITS, clock: Clock | None = None) -> AsyncIterator[Port]:
    gate = asyncio.Event()
    pages = Pages(gate)
    tls = context(folder, SERVER, ssl.PROTOCOL_TLS_SERVER)
    tls.verify_mode = ssl.CERT_OPTIONAL
    listener = Listener(Web(pages).handle, lambda: tls, clock or SystemClock(), limits)
    await listener.open("127.0.0.1", 0)
    task = asyncio.create_task(listener.serve())
    try:
        yield Port(listener, folder, gate, pages)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_small_pieces_are_sent_at_once(tmp_path: Path) -> None:
    """Without TCP_NODELAY the end of a response waits for an acknowledgement that its reader delays."""
    async with port(tmp_path) as found:
        reader, writer = await found.tls()
        writer.write(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        connections = await eventually(lambda: [item for item in found.listener._places if item.writer is not None])
        sock = connections[0].writer.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        found.gate.set()
        assert b"at last" in await reader.readuntil(b"at last")
        await hang_up(writer)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def quickly(port: Port, *, within: float = 1.0 * PATIENCE, source: str = "127.0.0.1") -> None:
    """A request is answered at once, several times over."""
    for _ in range(5):
        began = time.monotonic()
        assert (await port.ask(source=source)).endswith(b"/hello")
        assert time.monotonic() - began < within


async def test_idle_tls_connections_delay_nobody(tmp_path: Path) -> None:
    """The attack: 64 of them, from the address of the client that they are to keep out."""
    async with port(tmp_path) as made:
        held = [await made.tls() for _ in range(64)]
        await quickly(made)
        for _, writer in held:
            await hang_up(writer)


async def test_a_thousand_idle_connections_delay_nobody_and_take_few_descriptors(tmp_path: Path) -> None:
    """The server's end of all but the newest is closed at once."""
    async with port(tmp_path) as made:
        before = descriptors()
        held = [await made.idle() for _ in range(1000)]
        try:
            await quickly(made)
            assert descriptors() - before - len(held) <= LIMITS.per_peer + 1
        finally:
            for sock in held:
                sock.close()


async def test_many_addresses_together_have_a_limit_too(tmp_path: Path) -> None:
    """One with few connections keeps them: those of the address with most are closed."""
    async with port(tmp_path) as made:
        before = descriptors()
        reader, writer = await made.tls(source="127.0.0.99")
        held = [await made.idle(source=f"127.0.1.{number % 10 + 1}") for number in range(400)]
        assert descriptors() - before - len(held) - 2 <= LIMITS.connections
        await quickly(made, source="127.0.0.98")
        writer.write(HELLO)
        assert (await reader.read()).endswith(b"/hello")
        await hang_up(writer)
        for sock in held:
            sock.close()


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"", b""),
        (b"GET /hello HTTP/1.1\r\n", b""),
        (b"POST /post HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf", b"HTTP/1.1 504 "),
    ],
)
async def test_a_request_has_a_deadline_from_accept(sent: bytes, answered: bytes, tmp_path: Path) -> None:
    """Whatever part of it came, and however often a byte of it comes; with a head it is answered."""
    async with port(tmp_path, replace(LIMITS, request=1.5)) as made:
        began = time.monotonic()
        reader, writer = await made.tls()
        writer.write(sent)
        await asyncio.sleep(0.3)
        writer.write(b"x" if sent else b"")
        with contextlib.suppress(OSError):
            assert (await reader.read())[: len(b"HTTP/1.1 504 ")] == answered
        assert 0.3 <= time.monotonic() - began < 5 * PATIENCE
        await hang_up(writer)


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"])
async def test_a_handshake_has_a_deadline_from_accept(sent: bytes, tmp_path: Path) -> None:
    """One that never begins, and one that begins and never ends."""
    async with port(tmp_path, replace(LIMITS, request=0.4)) as made:
        before = descriptors()
        sock = await made.idle()
        if sent:
            await asyncio.get_running_loop().sock_sendall(sock, sent)
        began = time.monotonic()
        with contextlib.suppress(OSError):
            assert await asyncio.get_running_loop().sock_recv(sock, 100) == b""
        assert time.monotonic() - began < 5 * PATIENCE
        sock.close()
        await eventually(lambda: descriptors() == before)


async def test_a_peer_that_never_closes_is_hung_up_on(tmp_path: Path) -> None:
    """After its answer it may not keep the descriptor."""
    async with port(tmp_path) as made:
        before = descriptors()
        held = [await made.tls() for _ in range(10)]
        for reader, writer in held:
            writer.write(HELLO)
            assert b"/hello" in await reader.readuntil(b"/hello")
        await eventually(lambda: descriptors() - before <= len(held))
        for _, writer in held:
            await hang_up(writer)


async def test_a_large_answer_arrives_whole_and_a_reader_that_stops_is_cut_off(tmp_path: Path) -> None:
    """The response has a deadline of its own."""
    large = HELLO.replace(b"hello", b"large")
    async with port(tmp_path, replace(LIMITS, response=1.0)) as made:
        assert (await made.ask(large)).count(b"x") >= 4 << 20
        before = descriptors()
        sock = await made.idle()
        tls = await asyncio.to_thread(_handshake, made, sock)
        tls.send(large)
        await eventually(lambda: descriptors() == before + 1)
        tls.close()


def _handshake(made: Port, sock: socket.socket) -> ssl.SSLSocket:
    sock.setblocking(True)
    return made.client().wrap_socket(sock, server_hostname=pki.SERVER_NAME)


async def test_requests_that_are_served_are_not_evicted(tmp_path: Path) -> None:
    """New connections close those that wait; too many at once are refused in words."""
    async with port(tmp_path) as made:
        slow = [asyncio.create_task(made.ask(HELLO.replace(b"hello", b"slow"))) for _ in range(LIMITS.serving)]
        await asyncio.sleep(0.3)
        assert b"429" in (await made.ask()).splitlines()[0]
        held = [await made.idle() for _ in range(100)]
        made.gate.set()
        assert all(answer.endswith(b"at last") for answer in await asyncio.gather(*slow))
        for sock in held:
            sock.close()


async def test_handshakes_of_one_address_are_rationed(tmp_path: Path) -> None:
    """They cost the control plane's processor. Other addresses do not notice, and the address itself recovers."""
    clock = VirtualClock()
    async with port(tmp_path, replace(LIMITS, burst=5.0, rate=2.0), clock) as made:
        for _ in range(5):
            await made.ask()
        with pytest.raises(OSError):
            await made.ask()
        await made.ask(source="127.0.0.77")
        await clock.advance(0.8)
        assert (await made.ask()).endswith(b"/hello")


async def read_response(reader: asyncio.StreamReader) -> bytes:
    """One response with a length, or in chunks."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    if length is not None:
        return head + await reader.readexactly(int(length[1]))
    return head + await reader.readuntil(b"0\r\n\r\n")


async def test_a_known_client_keeps_its_connection(tmp_path: Path) -> None:
    """One request after the other, also when they are sent before the first response, and a body in chunks."""
    async with port(tmp_path) as made:
        reader, writer = await made.tls(made.client("system:masters"))
        made.gate.set()
        writer.write(HELLO + HELLO.replace(b"hello", b"pieces") + HELLO.replace(b"hello", b"again"))
        answers = [await read_response(reader) for _ in range(3)]
        assert [b"/hello" in answers[0], b"5\r\nfirst\r\n" in answers[1], b"/again" in answers[2]] == [True] * 3
        writer.write(b"POST /x HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        assert b"100" in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"abc")
        assert (await read_response(reader)).endswith(b"/xabc")
        writer.write(b"HEAD /x HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"content-length: 2" in await reader.readuntil(b"\r\n\r\n")
        writer.write(HELLO)
        assert (await read_response(reader)).endswith(b"/hello")
        await hang_up(writer)


async def test_a_stream_ends_with_its_client(tmp_path: Path) -> None:
    """Also while it has nothing to send."""
    async with port(tmp_path) as made:
        reader, writer = await made.tls(made.client("system:masters"))
        writer.write(HELLO.replace(b"hello", b"pieces"))
        await reader.readuntil(b"first")
        await hang_up(writer)
        await asyncio.wait_for(made.pages.closed.wait(), 5)


async def test_known_clients_do_not_count_as_strangers(tmp_path: Path) -> None:
    """They have limits of their own: one more connection takes the place of the user's oldest idle one."""
    async with port(tmp_path, replace(LIMITS, connections=4, per_peer=4, clients=20, per_user=8)) as made:
        masters = made.client("system:masters")
        held = []
        for _ in range(8):
            held.append(await made.tls(masters))
            held[-1][1].write(HELLO)
            await read_response(held[-1][0])
        await quickly(made)
        reader, writer = await made.tls(masters)
        writer.write(HELLO)
        assert b"200" in await read_response(reader)
        assert await held[0][0].read() == b""
        busy = [*held[1:], (reader, writer)]
        for one, other in busy:
            other.write(HELLO.replace(b"hello", b"pieces"))
            await one.readuntil(b"first")
        last, other = await made.tls(masters)
        other.write(HELLO)
        assert b"429" in (await read_response(last)).splitlines()[0]
        for _, one in [*held, (reader, writer), (last, other)]:
            await hang_up(one)


@pytest.mark.parametrize(("request_", "status"), [
    (b"POST /post HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (STRANGERS_BODY + 1), b"413"),
    (b"POST /post HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5000\r\n%s\r\n" % (b"x" * 0x5000), b"413"),
    (b"GET /?%s HTTP/1.1\r\nhost: x\r\n\r\n" % (b"a&" * 2000), b"400"),
    (b"POST /post HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n", b"200"),
    (b"nonsense\r\n\r\n", b""), (b"GET /hello HTTP/1.1\r\nhost: x\r\nlong: " + b"x" * 70000 + b"\r\n\r\n", b""),
])  # fmt: skip
async def test_requests_are_small_and_well_formed(request_: bytes, status: bytes, tmp_path: Path) -> None:
    """Another method, a large body or a broken head is refused, and the next client is served."""
    async with port(tmp_path) as made:
        with contextlib.suppress(OSError):
            answer = await made.ask(request_)
            assert status in answer[:20]
        await quickly(made)


@pytest.mark.parametrize("host", ["[::]", "::", "0.0.0.0", "127.0.0.1"])
async def test_an_address_is_written_as_for_the_grpc_port(host: str) -> None:
    """[::] serves IPv4 as well."""

    async def handle(connection: Connection) -> None:
        raise AssertionError("nobody sends a byte")

    listener = Listener(handle, lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), SystemClock(), LIMITS)
    await listener.open(host, 0)
    task = asyncio.create_task(listener.serve())
    await asyncio.sleep(0)
    socket.create_connection(("127.0.0.1", listener.port), 5).close()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_adopted_socket_takes_the_place_of_one_at_its_address() -> None:
    """A client that connected before there was a listener is accepted, and hung up on as it says no TLS."""

    async def handle(connection: Connection) -> None:
        raise AssertionError("there is no handshake")

    given = socket.create_server(("127.0.0.1", 0))
    number = given.getsockname()[1]
    with socket.create_connection(("127.0.0.1", number), 5) as early:
        early.sendall(b"no TLS")
        early.setblocking(False)
        listener = Listener(handle, lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), SystemClock(), LIMITS)
        listener.adopt(given.detach())
        await listener.open("127.0.0.1", number)
        task = asyncio.create_task(listener.serve())
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(30):
                while await asyncio.get_running_loop().sock_recv(early, 1 << 10):
                    pass
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_addresses_that_limits_are_per() -> None:
    """An IPv6 host has a /64 for itself; IPv4 over IPv6 is IPv4."""
    assert [peer_of(address) for address in ("192.0.2.1", "::ffff:192.0.2.1", "2001:db8:1:2:3:4:5:6", "fe80::1%eth0")] == [
        "192.0.2.1", "192.0.2.1", "2001:db8:1:2::/64", "fe80::/64",
    ]  # fmt: skip


def test_the_listener_takes_an_eighth_of_the_descriptors() -> None:
    """However few there are, some connections are accepted."""
    assert [Limits.within(files).connections for files in (64, 1024, 20_000, 1 << 20)] == [16, 128, 256, 256]
