"""One check of a container, as probes and hooks do it: a command in it, an HTTP request, a TCP connection, a gRPC call.

Each returns a result and raises nothing but cancellation; the caller says how long it may take.
Source: kubelet's probes: what counts as success, and the words for failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
import string
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import h11

from nodeagent.node import threads
from pinnace import __version__

# Bytes of a response that are read at a time; h11 bounds its head.
MAX_HEAD = 16 << 10
MAX_REDIRECTS = 10
# Responses of status 1xx before the answer, as in Go: a server may send any number, as fast as they are read.
MAX_INFORMATIONAL = 5
USER_AGENT = f"kube-probe/{__version__}"


@dataclass(frozen=True, slots=True)
class Result:
    """`message` is for people, and empty for what passed."""

    ok: bool
    message: str = ""

    @classmethod
    def of(cls, ok: bool, otherwise: str) -> Result:
        return cls(ok, "" if ok else otherwise)


@dataclass(frozen=True, slots=True)
class Target:
    """What is checked. `run` executes a command in the container within some seconds: its exit code and output;
    it raises TimeoutError and RuntimeError."""

    address: str
    container: Any
    run: Callable[[list[str], float], Awaitable[tuple[int, str]]]


class BadPort(Exception):
    """The manifest names a port that the container does not have."""


async def check(handler: Any, target: Target, within: float) -> Result:
    """Do what a ProbeHandler or a LifecycleHandler says; `within` in seconds."""
    kind = next((field.name for field, _ in handler.ListFields()), "")
    try:
        if kind == "exec":
            return await _command(list(handler.exec.command), target, within)
        if kind == "sleep":
            await asyncio.sleep(handler.sleep.seconds)
            return Result(True)
        async with asyncio.timeout(within):
            return await _CHECKS[kind](getattr(handler, kind), target)
    except TimeoutError:
        return Result(False, f"{_WORDS[kind]}: no answer within {within:g} s")
    except (OSError, h11.ProtocolError, BadPort, RuntimeError, ValueError, OverflowError) as error:
        # The last two: an address that is none, in the manifest or in a redirect, which the container has written.
        return Result(False, f"{_WORDS[kind]}: {error.strerror if isinstance(error, OSError) and error.strerror else error}")


async def run_hook(handler: Any, target: Target, within: float) -> Result:
    """Run a lifecycle hook; `within` in seconds.

    One of tcpSocket fails, as in kubelet: manifests may have it, but nothing says what it would do."""
    if handler.HasField("tcpSocket"):
        return Result(False, "Cannot run handler: invalid handler: tcpSocket is not supported as a lifecycle hook")
    return await check(handler, target, within)


async def _command(command: list[str], target: Target, within: float) -> Result:
    code, output = await target.run(command, within)
    return Result.of(code == 0, output.strip() or f"the command ended with {code}")


async def _http(action: Any, target: Target) -> Result:
    host = action.host or target.address
    url = f"{action.scheme.lower() or 'http'}://{_bracketed(host)}:{_port(action.port, target.container)}"
    url += action.path if action.path.startswith("/") else "/" + action.path
    headers = [(header.name, header.value) for header in action.httpHeaders]
    for _ in range(MAX_REDIRECTS):
        code, location = await _get(url, headers)
        following = _redirect(url, location) if 300 <= code < 400 else ""
        # To another host it is not followed, and counts as the answer that it is.
        if not following or urlsplit(following).hostname != urlsplit(url).hostname:
            return Result.of(200 <= code < 400, f"HTTP probe failed with statuscode: {code}")
        url = following
    return Result(False, f"stopped after {MAX_REDIRECTS} redirects")


def _redirect(url: str, location: str) -> str:
    """Where a response leads, "" for nowhere. Raises RuntimeError without quoting what the container wrote."""
    try:
        following = urljoin(url, location)
        _ = urlsplit(following).port
    except ValueError:
        raise RuntimeError("malformed redirect") from None
    return following if location else ""


async def _get(url: str, headers: list[tuple[str, str]]) -> tuple[int, str]:
    """Status code and Location. The body is not read: an error page may hold secrets, and events are for many eyes."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    reader, writer = await _connect(str(parts.hostname), port, _unverified() if secure else None)
    try:
        machine = h11.Connection(h11.CLIENT)
        target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=string.punctuation)
        named = {name.lower() for name, _ in headers}
        common = [("Host", parts.netloc), ("User-Agent", USER_AGENT), ("Accept", "*/*"), ("Connection", "close")]
        missing = [(name, value) for name, value in common if name.lower() not in named]
        sent = [(name.encode(), value.encode()) for name, value in (*headers, *missing)]
        writer.write(machine.send(h11.Request(method="GET", target=target, headers=sent)) or b"")
        writer.write(machine.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        try:
            return await _answer(machine, reader)
        except h11.ProtocolError:
            # Its own text quotes what was sent.
            raise RuntimeError("malformed response") from None
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await writer.wait_closed()


async def _connect(host: str, port: int, context: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Raises OSError that says where and why; asyncio's own words show a tuple."""
    try:
        addresses = await _resolved(host)
        for address in addresses[:-1]:
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(address, port, ssl=context, server_hostname=host if context else None)
        return await asyncio.open_connection(addresses[-1], port, ssl=context, server_hostname=host if context else None)
    except OSError as error:
        if isinstance(error, ssl.SSLError) or error.errno is None or error.errno <= 0:
            raise
        raise OSError(error.errno, f"{_bracketed(host)}:{port}: {os.strerror(error.errno).lower()}") from None


async def _resolved(host: str) -> list[str]:
    """The addresses of a name, one at least. In threads of its own: a resolver may not answer. Raises OSError."""
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    found = await threads.names.run(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


async def _answer(machine: h11.Connection, reader: asyncio.StreamReader) -> tuple[int, str]:
    informational = 0
    while informational <= MAX_INFORMATIONAL:
        event = machine.next_event()
        if event is h11.NEED_DATA:
            machine.receive_data(await reader.read(MAX_HEAD))
        elif isinstance(event, h11.Response):
            location = next((value.decode("latin-1") for name, value in event.headers if name == b"location"), "")
            return event.status_code, location
        elif isinstance(event, h11.InformationalResponse):
            informational += 1
        else:
            raise RuntimeError("the connection ended without a response")
    raise RuntimeError("too many 1xx informational responses")


def _unverified() -> ssl.SSLContext:
    """As kubelet: the probe asks whether it answers, not who answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _tcp(action: Any, target: Target) -> Result:
    host = action.host or target.address
    _, writer = await _connect(host, _port(action.port, target.container), None)
    writer.close()
    return Result(True)


async def _grpc(action: Any, target: Target) -> Result:
    # Heavy, and few pods ask for it.
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from pinnace import channels

    async with channels.insecure(f"{_bracketed(target.address)}:{action.port}") as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=action.service))
        except grpc.aio.AioRpcError as error:
            return Result(False, f"gRPC probe failed: {error.code().name}")
    name = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return Result.of(name == "SERVING", f'service unhealthy (responded with "{name}")')


def _port(port: Any, container: Any) -> int:
    """A number, a number in words, or the name of one of the container's ports."""
    if port.type == 0:
        return int(port.intVal)
    for item in container.ports:
        if item.name == port.strVal:
            return int(item.containerPort)
    if port.strVal.isdigit():
        return int(port.strVal)
    raise BadPort(f'the container has no port named "{port.strVal}"')


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


_CHECKS: dict[str, Callable[[Any, Target], Awaitable[Result]]] = {"httpGet": _http, "tcpSocket": _tcp, "grpc": _grpc}
_WORDS = {"exec": "command", "httpGet": "HTTP request", "tcpSocket": "TCP connection", "grpc": "gRPC call", "": "no handler"}
