"""Single checks against real servers on loopback: what passes, and what a failure says."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from nodeagent.probes.checks import Result, Target, check, run_hook
from pinnace import codec, pki
from pinnace.core.v1 import container_pb2
from tests.support.cancelling import heeded
from tests.support.objects import container
from tests.support.proxy import through_proxy

Answer = Callable[[str, dict[str, str]], bytes]


def handler(kind: str, **action: Any) -> Any:
    return codec.decode(container_pb2.Probe, {kind: action}).handler


async def never(command: list[str], within: float) -> tuple[int, str]:
    raise AssertionError("no command was asked for")


def target(run: Any = never, **more: Any) -> Target:
    made = codec.decode(container_pb2.Container, container(**more))
    return Target("127.0.0.1", made, run)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Any]]:
    """`await serve(answer)`: an HTTP server that answers path and headers with raw bytes; returns its port."""
    servers = []

    async def start(answer: Answer, context: ssl.SSLContext | None = None) -> int:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            writer.write(answer(head[0].split(" ")[1], {key.lower(): value for key, value in headers.items()}))
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
        servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    yield start
    for server in servers:
        server.close()


def response(code: int, body: str = "", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {code} X", f"Content-Length: {len(body)}", *(f"{key}: {value}" for key, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


@pytest.mark.parametrize(
    "raw",
    [
        response(500, "opensesame"), response(302, "opensesame", Location="http://127.0.0.1:opensesame/"), b"opensesame\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nopensesame\r\n\r\n", b"HTTP/1.1 999999 opensesame\r\n\r\n", b"",
    ],
)  # fmt: skip
@pytest.mark.parametrize("ask", [check, run_hook])
async def test_what_a_server_sends_is_in_no_message(serve: Any, raw: bytes, ask: Any) -> None:
    """Events are for many eyes, and an error page or a broken answer may hold secrets. Of probes and of hooks."""
    port = await serve(lambda path, headers: raw)
    kind = container_pb2.Probe if ask is check else container_pb2.Lifecycle
    made = codec.decode(kind, {"httpGet": {"port": port}} if ask is check else {"preStop": {"httpGet": {"port": port}}})
    found = await ask(made.handler if ask is check else made.preStop, target(), 5)
    assert not found.ok
    assert "opensesame" not in found.message


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (200, Result(True)),
        (399, Result(True)),
        (404, Result(False, "HTTP probe failed with statuscode: 404")),
        (503, Result(False, "HTTP probe failed with statuscode: 503")),
    ],
)
async def test_http_passes_from_200_to_399(serve: Any, code: int, expected: Result) -> None:
    """Anything else fails with its code; the body, which may hold secrets, is shown nowhere."""
    port = await serve(lambda path, headers: response(code, "body"))
    assert await check(handler("httpGet", port=port), target(), 5) == expected


@pytest.mark.shows("spec.containers[].livenessProbe.httpGet.{path,port,httpHeaders[].name,httpHeaders[].value}")
async def test_http_sends_path_and_headers(serve: Any) -> None:
    """The manifest's headers, also instead of the usual ones."""
    seen: list[Any] = []
    port = await serve(lambda path, headers: seen.append((path, headers)) or response(200))
    headers = [{"name": "X-A", "value": "1"}, {"name": "User-Agent", "value": "mine"}]
    assert (await check(handler("httpGet", port=port, path="/well?now=1", httpHeaders=headers), target(), 5)).ok
    path, sent = seen[0]
    assert (path, sent["x-a"], sent["user-agent"], sent["host"]) == ("/well?now=1", "1", "mine", f"127.0.0.1:{port}")


async def test_a_redirect_is_followed_on_the_same_host_only(serve: Any) -> None:
    """To another host it counts as the answer; in a circle it ends."""
    port = await serve(lambda path, headers: response(302, Location="/b") if path == "/a" else response(500))
    assert not (await check(handler("httpGet", port=port, path="/a"), target(), 5)).ok
    away = await serve(lambda path, headers: response(302, Location="http://192.0.2.1/"))
    assert (await check(handler("httpGet", port=away), target(), 5)).ok
    circle = await serve(lambda path, headers: response(302, Location="/again"))
    assert "redirects" in (await check(handler("httpGet", port=circle), target(), 5)).message


@pytest.mark.shows("spec.containers[].livenessProbe.httpGet.scheme")
async def test_https_does_not_ask_who_answers(serve: Any, tmp_path: Path) -> None:
    """A certificate that nobody signed is as good as any."""
    pair = pki.new_ca(1_700_000_000.0)
    (tmp_path / "pem").write_bytes(pair.key + pair.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    port = await serve(lambda path, headers: response(204), context)
    assert (await check(handler("httpGet", port=port, scheme="HTTPS"), target(), 5)).ok


async def test_a_port_may_be_named(serve: Any) -> None:
    """By the container's ports; an unknown name fails and says so."""
    port = await serve(lambda path, headers: response(200))
    named = target(ports=[{"name": "web", "containerPort": port}])
    assert (await check(handler("httpGet", port="web"), named, 5)).ok
    assert (await check(handler("tcpSocket", port="web"), named, 5)).ok
    assert 'no port named "nope"' in (await check(handler("tcpSocket", port="nope"), named, 5)).message


@pytest.mark.parametrize("kind", ["httpGet", "tcpSocket"])
async def test_a_closed_port_fails_and_says_why(serve: Any, kind: str) -> None:
    """Connection refused, not an exception."""
    port = await serve(lambda path, headers: response(200))
    free = port + 1 if port < 65535 else port - 1
    found = await check(handler(kind, port=free), target(), 5)
    assert not found.ok
    assert "onne" in found.message


@pytest.mark.shows("spec.containers[].livenessProbe.{httpGet,tcpSocket}.host")
async def test_another_host_may_be_asked(serve: Any) -> None:
    """Instead of the pod's address."""
    port = await serve(lambda path, headers: response(200))
    elsewhere = Target("192.0.2.1", target().container, never)
    for kind in ("httpGet", "tcpSocket"):
        assert (await check(handler(kind, port=port, host="127.0.0.1"), elsewhere, 5)).ok


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize(("informational", "ok"), [(5, True), (6, False)])
async def test_only_so_many_informational_responses_are_read(serve: Any, informational: int, ok: bool) -> None:
    port = await serve(lambda path, headers: CONTINUE * informational + response(200))
    expected = Result.of(ok, "HTTP request: too many 1xx informational responses")
    assert await check(handler("httpGet", port=port), target(), 60) == expected


async def test_endless_informational_responses_end_the_check() -> None:
    """They come as fast as they are read: the check must neither wait for its timeout nor keep everything else waiting."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(CONTINUE * 1000)
                await writer.drain()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await check(handler("httpGet", port=port), target(), 3600)
        assert found == Result(False, "HTTP request: too many 1xx informational responses")


@pytest.mark.parametrize(
    "flood",
    [
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000, b"HTTP/1.1 200 OK\r\nA: " + b"b" * 1_000_000,
        b"HTTP/1.1 200 " + b"x" * 1_000_000, b"HTTP/1.1 200 OK\r\nA: b\r\n" + b" c\r\n" * 100_000,
    ],
)  # fmt: skip
async def test_a_head_without_end_is_refused(serve: Any, flood: bytes) -> None:
    """Of many fields, a long one, a long status line, or many folded lines."""
    port = await serve(lambda path, headers: flood)
    assert await check(handler("httpGet", port=port), target(), 60) == Result(False, "HTTP request: malformed response")


async def test_an_answer_that_does_not_come_is_a_failure(serve: Any) -> None:
    """At the deadline, for HTTP and for commands."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    assert "no answer within 0.1 s" in (await check(handler("httpGet", port=port), target(), 0.1)).message
    silent.close()

    async def hang(command: list[str], within: float) -> tuple[int, str]:
        raise TimeoutError

    assert "no answer" in (await check(handler("exec", command=["sleep"]), target(hang), 0.1)).message


@pytest.mark.parametrize(
    "garbage", [b"", b"hello\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
)
async def test_what_is_no_http_is_a_failure(serve: Any, garbage: bytes) -> None:
    """Whatever the container answers, the agent goes on."""
    port = await serve(lambda path, headers: garbage)
    assert not (await check(handler("httpGet", port=port), target(), 5)).ok


async def test_an_endless_body_is_cut(serve: Any) -> None:
    """The verdict does not wait for its end."""
    port = await serve(lambda path, headers: b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 100_000)
    assert (await check(handler("httpGet", port=port), target(), 5)).ok


@pytest.mark.parametrize(("code", "output", "expected"), [
    (0, "fine\n", Result(True)), (3, "no luck\n", Result(False, "no luck")), (4, "", Result(False, "the command ended with 4")),
])  # fmt: skip
async def test_a_command_passes_with_code_0(code: int, output: str, expected: Result) -> None:
    """Its output is the message."""

    async def run(command: list[str], within: float) -> tuple[int, str]:
        assert (command, within) == (["is", "well"], 7)
        return code, output

    assert await check(handler("exec", command=["is", "well"]), target(run), 7) == expected


@pytest.mark.shows("spec.containers[].livenessProbe.grpc.{port,service}")
async def test_grpc_asks_the_health_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """SERVING passes; another state, an unknown service and a closed port fail. The proxy of image pulls is not asked."""
    with through_proxy("127.0.0.1:1", monkeypatch) as proxy:
        await _check_health()
    assert proxy.asked == []


class Refuses(health_pb2_grpc.HealthServicer):
    async def Check(self, request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.INTERNAL, "the password is opensesame")


async def test_the_text_of_a_grpc_error_is_in_no_message() -> None:
    """It is the server's."""
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(Refuses(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        found = await check(handler("grpc", port=port), target(), 5)
    finally:
        await server.stop(None)
    assert found == Result(False, "gRPC probe failed: INTERNAL")


async def _check_health() -> None:
    server = grpc.aio.server()
    service = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        await service.set("up", health_pb2.HealthCheckResponse.SERVING)
        await service.set("down", health_pb2.HealthCheckResponse.NOT_SERVING)
        assert (await check(handler("grpc", port=port, service="up"), target(), 5)).ok
        down = await check(handler("grpc", port=port, service="down"), target(), 5)
        assert (down.ok, "NOT_SERVING" in down.message) == (False, True)
        assert "NOT_FOUND" in (await check(handler("grpc", port=port, service="other"), target(), 5)).message
    finally:
        await server.stop(None)
    assert not (await check(handler("grpc", port=port), target(), 5)).ok


@pytest.mark.parametrize("location", ["http://[", "http://127.0.0.1:99999/", "http://127.0.0.1:no/", "/\xe4", "//["])
async def test_a_redirect_to_nonsense_is_a_failure(serve: Any, location: str) -> None:
    """A container says where to go: whatever it says, its prober goes on."""
    answer = response(302, Location="LOCATION").replace(b"LOCATION", location.encode("latin-1"))
    port = await serve(lambda path, headers: answer)
    assert not (await check(handler("httpGet", port=port), target(), 5)).ok


@pytest.mark.parametrize(
    "action",
    [
        {"httpGet": {"port": 1, "path": "/\xe4"}},
        {"httpGet": {"port": 1, "host": "a" * 70 + ".example"}},
        {"httpGet": {"port": 1, "host": "a\x00b"}},
        {"tcpSocket": {"port": 1, "host": "a" * 70 + ".example"}},
        {"tcpSocket": {"port": 70000}},
        {"httpGet": {"port": 70000}},
    ],
)
async def test_what_cannot_be_asked_is_a_failure(action: dict[str, Any]) -> None:
    """And not the end of the prober, whose container would stay ready for ever."""
    asked = codec.decode(container_pb2.Probe, action).handler
    assert not (await check(asked, target(), 5)).ok


async def test_http_is_sent_as_utf_8(serve: Any) -> None:
    """A header as it is, a path escaped."""
    port = await serve(lambda path, headers: response(200 if (path, headers["x"]) == ("/%C3%A4?a=%20", "\xe4") else 400))
    asked = handler("httpGet", port=port, path="/\xe4?a= ", httpHeaders=[{"name": "X", "value": "\xe4"}])
    assert await check(asked, target(), 5) == Result(True)


@pytest.mark.parametrize("kind", ["httpGet", "tcpSocket"])
async def test_a_check_that_is_cancelled_ends(serve: Any, kind: str) -> None:
    """Also in the moment in which it is answered: its container has ended then, and it would be asked about the next."""
    port = await serve(lambda path, headers: response(200))
    assert await heeded(lambda: check(handler(kind, port=port), target(), 5))
