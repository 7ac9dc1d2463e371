"""Health checks of load balancers: how many endpoints of a Service are on this node, over HTTP at its healthCheckNodePort.

Only for Services with externalTrafficPolicy Local, and with kube-proxy's answer: 200 while there are endpoints, else 503. The
request is not looked at; any client of the node's addresses may send one.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable

from nodeagent.network.services.table import Health
from pinnace.shares import Shares

log = logging.getLogger("pinnace.services")
# Seconds for a request, and bytes of one; connections of a port at once, and those of one address.
_DEADLINE, _MOST_BYTES = 5.0, 8192
_MOST, _MOST_EACH = 32, 16
_STATUS = {True: "200 OK", False: "503 Service Unavailable"}


def answer(item: Health) -> bytes:
    body = json.dumps(
        {
            "service": {"namespace": item.namespace, "name": item.name},
            "localEndpoints": item.endpoints,
            "serviceProxyHealthy": True,
        },
        indent="\t",
    ).encode()
    head = [
        f"HTTP/1.1 {_STATUS[item.endpoints > 0]}", "Content-Type: application/json", "X-Content-Type-Options: nosniff",
        f"X-Load-Balancing-Endpoint-Weight: {item.endpoints}", f"Content-Length: {len(body)}", "Connection: close",
    ]  # fmt: skip
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class _Listener:
    """One port."""

    def __init__(self, item: Health) -> None:
        self.item = item
        self._server: asyncio.Server | None = None
        self._clients = Shares(_MOST, _MOST_EACH)

    async def open(self) -> None:
        """At all addresses of the node. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, None, self.item.port, limit=_MOST_BYTES)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # There is no address of a connection that has been reset.
        client = str((writer.get_extra_info("peername") or ("",))[0])
        try:
            with self._clients.taken(client, writer.transport.abort):
                async with asyncio.timeout(_DEADLINE):
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(answer(self.item))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()


class HealthServer:
    """One listener for each port. A port that is taken is tried again with the next change."""

    def __init__(self) -> None:
        self._listeners: dict[int, _Listener] = {}

    async def set(self, items: Iterable[Health]) -> None:
        """Exactly these; of several with a port the first by name."""
        wanted = {item.port: item for item in sorted(items, key=lambda item: (item.namespace, item.name), reverse=True)}
        for port in self._listeners.keys() - wanted.keys():
            await self._listeners.pop(port).close()
        for port, item in wanted.items():
            if port in self._listeners:
                self._listeners[port].item = item
                continue
            listener = _Listener(item)
            try:
                await listener.open()
            except OSError as error:
                log.error("health_port_failed service=%s/%s port=%d error=%s", item.namespace, item.name, port, error)
            else:
                self._listeners[port] = listener

    async def close(self) -> None:
        await self.set(())
