"""Forwarded ports: one stream is one TCP connection to a port of a pod, made inside the pod's network namespace."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from nodeagent.linux import namespaces
from nodeagent.pods.manager import PodManager
from nodeagent.streams.frames import CHUNK, Frame, Handler
from pinnace.errors import BadRequest, NotFound

CONNECT_WITHIN = 10.0
# Seconds between looks whether the pod is still there.
LOOK = 1.0


class PortStreams:
    def __init__(self, pods: PodManager) -> None:
        self._pods = pods

    def handlers(self) -> dict[str, Handler]:
        return {"portForward": self._forward}

    async def _forward(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        worker = self._pods.find(opening.namespace, opening.pod)
        if worker is None or not worker.observed.sandbox:
            raise BadRequest(f"pod {opening.pod} is not running")
        namespace = None if worker.pod.spec.hostNetwork else worker.folder / "sandbox/ns/net"
        reader, writer = await _connect(namespace, opening.portForward.port)
        both = asyncio.gather(_send(incoming, writer), _receive(reader, outgoing))
        try:
            # An open connection would keep the namespace of a pod that is gone.
            while not (await asyncio.wait({both}, timeout=LOOK))[0]:
                if self._pods.find(opening.namespace, opening.pod) is not worker:
                    raise NotFound(f'pod "{opening.pod}" is gone')
            await both
        except OSError as error:
            raise BadRequest(f"port {opening.portForward.port} of pod {opening.pod}: {error.strerror or error}") from None
        finally:
            both.cancel()
            writer.close()


async def _connect(namespace: Path | None, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Raises BadRequest."""
    sock = None
    try:
        async with asyncio.timeout(CONNECT_WITHIN):
            sock = await asyncio.to_thread(_socket, namespace)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
            return await asyncio.open_connection(sock=sock, limit=CHUNK)
    except (OSError, TimeoutError) as error:
        if sock is not None:
            sock.close()
        # asyncio's own words for it name the address instead of the reason.
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no answer"
        raise BadRequest(f"cannot connect to 127.0.0.1:{port} in the pod: {why}") from None


def _socket(namespace: Path | None) -> socket.socket:
    """A socket stays in the namespace that it was made in, so the thread visits it for that moment. Raises OSError."""
    if namespace is None:
        return _plain()
    with namespaces.visiting(namespace):
        return _plain()


def _plain() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


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
