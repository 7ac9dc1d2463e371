"""Ports of pods: one stream is one TCP connection to a port of a pod, made inside the pod's network namespace.

port-forward reaches the pod's loopback. The API's proxy reaches the pod's own address, with or without TLS, and so no port that
the pod serves for itself alone.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nodeagent.launcher import bundle as names
from nodeagent.linux import namespaces
from nodeagent.node import threads
from nodeagent.pods.manager import PodManager
from nodeagent.pods.worker import Worker
from nodeagent.streams.frames import CHUNK, Frame, Handler
from pinnace.errors import BadRequest, NotFound
from pinnace.ipfamilies import family_of, url_host

CONNECT_WITHIN = 10.0
# Seconds between looks whether the pod is still there.
LOOK = 1.0
_OTHER_LOCALHOST = {"127.0.0.1": "::1"}


@dataclass(frozen=True, slots=True)
class Port:
    """Where to connect: in a network namespace, None for the host's."""

    namespace: Path | None
    address: str
    number: int
    tls: bool = False

    @property
    def shown(self) -> str:
        return f"{url_host(self.address)}:{self.number}"


class PortStreams:
    def __init__(self, pods: PodManager) -> None:
        self._pods = pods

    def handlers(self) -> dict[str, Handler]:
        return {"portForward": self._forward, "proxyPod": self._proxy}

    async def _forward(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        worker = self._running(opening)
        await self._carry(worker, Port(_namespace(worker), "127.0.0.1", opening.portForward.port), incoming, outgoing)

    async def _proxy(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        worker = self._running(opening)
        if not worker.address:
            raise BadRequest(f"pod {opening.pod} does not have an address")
        wanted = opening.proxyPod
        await self._carry(worker, Port(_namespace(worker), worker.address, wanted.port, wanted.tls), incoming, outgoing)

    def _running(self, opening: Any) -> Worker:
        """Raises BadRequest."""
        worker = self._pods.find(opening.namespace, opening.pod)
        if worker is None or not worker.observed.sandbox:
            raise BadRequest(f"pod {opening.pod} is not running")
        return worker

    async def _carry(self, worker: Worker, port: Port, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        reader, writer = await connect(port)
        both = asyncio.gather(_send(incoming, writer), _receive(reader, outgoing))
        meta = worker.pod.metadata
        try:
            # An open connection would keep the namespace of a pod that is gone.
            while not (await asyncio.wait({both}, timeout=LOOK))[0]:
                if self._pods.find(meta.namespace, meta.name) is not worker:
                    raise NotFound(f'pod "{meta.name}" is gone')
            await both
        except OSError as error:
            raise BadRequest(f"port {port.number} of pod {meta.name}: {error.strerror or error}") from None
        finally:
            both.cancel()
            writer.close()


def _namespace(worker: Worker) -> Path | None:
    return None if worker.pod.spec.hostNetwork else Path(names.namespace(names.sandbox(worker.folder), "net"))


async def connect(port: Port) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Raises BadRequest."""
    try:
        async with asyncio.timeout(CONNECT_WITHIN):
            try:
                return await _connected(port)
            except ConnectionRefusedError:
                if port.address not in _OTHER_LOCALHOST:
                    raise
                # What listens on localhost may do so in one family, as in a pod without the other.
                return await _connected(replace(port, address=_OTHER_LOCALHOST[port.address]))
    except (OSError, TimeoutError) as error:
        raise BadRequest(f"cannot connect to {port.shown} in the pod: {_reason(error)}") from None


async def _connected(port: Port) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Raises OSError."""
    sock = await threads.streams.run(_socket, port.namespace, port.address)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (port.address, port.number))
        tls = _unverified() if port.tls else None
        return await asyncio.open_connection(sock=sock, limit=CHUNK, ssl=tls, server_hostname=port.address if tls else None)
    except BaseException:
        sock.close()
        raise


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"no TLS handshake: {error.reason or error}"
    # asyncio's own words for it name the address instead of the reason.
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no answer"


@functools.cache
def _unverified() -> ssl.SSLContext:
    """Pods have certificates that nothing vouches for; the connection does not leave the pod, so it needs no proof."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def _socket(namespace: Path | None, address: str) -> socket.socket:
    """A socket stays in the namespace that it was made in, so the thread visits it for that moment. Raises OSError."""
    if namespace is None:
        return _plain(address)
    with namespaces.visiting(namespace):
        return _plain(address)


def _plain(address: str) -> socket.socket:
    """With its protocol, by which asyncio knows to send small pieces at once."""
    kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    family = socket.AF_INET6 if family_of(address) == 6 else socket.AF_INET
    return socket.socket(family, kind, socket.IPPROTO_TCP)


async def _send(incoming: AsyncIterator[Any], writer: asyncio.StreamWriter) -> None:
    """The client's bytes to the port. Its end of input closes this direction alone."""
    async for frame in incoming:
        kind = frame.WhichOneof("frame")
        if kind == "stdin":
            writer.write(frame.stdin)
            await writer.drain()
        elif kind == "stdinClosed":
            if writer.can_write_eof():
                writer.write_eof()
            return


async def _receive(reader: asyncio.StreamReader, outgoing: asyncio.Queue[Any]) -> None:
    while data := await reader.read(CHUNK):
        await outgoing.put(Frame(stdout=data))
    await outgoing.put(Frame(stdoutClosed=True))
