"""A WebSocket between a client and a pod: bytes in both directions, after the pod has agreed to switch protocols."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from controlplane.http.messages import Request, UpgradedConnection
from controlplane.rest.proxy.heads import Headers
from controlplane.rest.proxy.podconnection import PodConnection
from controlplane.rest.streams.connection import ClientConnection, first_of
from pinnace.errors import ApiError

# Seconds between looks whether the client of a tunnel that takes no more input is still there.
WATCH = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class PodUpgrade:
    """A `controlplane.http.messages.Upgrade`. `headers` of the pod's 101; `data` is what came behind it; `held` is closed at
    the end."""

    pod: PodConnection
    headers: Headers
    data: bytes
    held: AsyncExitStack

    async def serve(self, request: Request, connection: UpgradedConnection) -> None:
        client = ClientConnection(connection)
        async with self.held:
            try:
                await client.write(self._head() + self.data)
                await first_of(self._to_pod(client), self._to_client(client), client.watch(WATCH, _nothing))
            except (OSError, ApiError):
                # Either end has gone: there is nobody left to tell, or no protocol to do so.
                pass

    def _head(self) -> bytes:
        lines = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket"]
        lines += (f"{name}: {value}" for name, value in self.headers)
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    async def _to_pod(self, client: ClientConnection) -> None:
        while data := await client.read():
            await self.pod.write(data)

    async def _to_client(self, client: ClientConnection) -> None:
        while data := await self.pod.read():
            await client.write(data)
        await client.delivered()


async def _nothing() -> None:
    """The bytes are the pod's and the client's: there is no place for a heartbeat."""
    await asyncio.sleep(0)
