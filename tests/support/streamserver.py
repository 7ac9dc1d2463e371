"""An HTTP server with one pod and its streams: enough of an API server for clients to exec, attach, forward and read logs."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import h11

from controlplane.http.messages import Request, UpgradedConnection
from controlplane.rest.streams.connection import Timeouts
from controlplane.rest.streams.endpoint import StreamEndpoint
from controlplane.rest.streams.interface import StreamRequest
from controlplane.store import Store
from pinnace import codec, kinds
from pinnace.clock import VirtualClock
from pinnace.errors import ApiError, NotFound
from tests.support import objects
from tests.support.streamrouter import FakeRouter

POD_PATH = "/api/v1/namespaces/default/pods/web"
_POD_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_RESOURCES = {
    "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1",
    "resources": [
        {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": _POD_VERBS, "shortNames": ["po"]},
        {"name": "namespaces", "singularName": "namespace", "namespaced": False, "kind": "Namespace", "verbs": _POD_VERBS},
    ],
}  # fmt: skip
_DOCUMENTS: dict[str, Any] = {
    "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": _RESOURCES,
}


class OnePod:
    """A store with the pod `web` of the containers main and side on node-1."""

    def __init__(self) -> None:
        self.pod = objects.pod("web", objects.container(tty=True, stdin=True), "side", nodeName="node-1")
        self.pod.status.phase = "Running"
        self.pod.metadata.uid = "1"

    def get(self, kind: Any, namespace: str, name: str) -> Any:
        if (kind, namespace, name) != (kinds.POD, "default", "web"):
            raise NotFound.of("pods", name)
        return self.pod


# Of tests: what takes minutes for people takes a moment.
QUICK = Timeouts(open=0.5, watch=0.1, linger=0.3)


class StreamServer:
    def __init__(self, timeouts: Timeouts) -> None:
        self.store = OnePod()
        self.router = FakeRouter()
        self.clock = VirtualClock()
        self.endpoint = StreamEndpoint(cast(Store, self.store), self.router, self.clock, timeouts)
        self.port = 0
        # Requests that switched protocols or were refused: subresource, and the HTTP code of a refusal.
        self.served: list[tuple[str, int]] = []
        self.tasks: set[asyncio.Task[Any]] = set()
        # The clients' ends of connections, which are closed with the server.
        self.clients: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            http = h11.Connection(h11.SERVER)
            while await self._request(http, reader, writer):
                http.start_next_cycle()
        except (OSError, h11.ProtocolError, asyncio.CancelledError):
            # start_server complains about a cancelled task.
            pass
        finally:
            self.tasks.discard(task)
            writer.close()

    async def _request(self, http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = None
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(4096))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.EndOfMessage | h11.PAUSED):
                break
            elif isinstance(event, h11.ConnectionClosed):
                return False
        assert head is not None
        return await self._answer(http, head, reader, writer)

    async def _answer(self, http: h11.Connection, head: h11.Request, reader: Any, writer: Any) -> bool:
        parts = urlsplit(head.target.decode())
        path = parts.path.rstrip("/")
        request = StreamRequest(
            head.method.decode(), "default", path.removeprefix("/api/v1/namespaces/default/pods/").partition("/")[0],
            path.rpartition("/")[2], parse_qs(parts.query, keep_blank_values=True), _headers(head),
        )  # fmt: skip
        try:
            if request.subresource in ("exec", "attach", "portforward"):
                # Bytes after the request are the client's first of the new protocol.
                upgrade = self.endpoint.upgrade(request)
                await upgrade.serve(Request("GET", path), UpgradedConnection(reader, writer, bytes(http.trailing_data[0])))
                self.served.append((request.subresource, 101))
                return False
            if request.subresource == "log":
                await self._log(http, writer, request)
                return False
            await self._send(http, writer, 200, self._document(path))
        except ApiError as error:
            self.served.append((request.subresource, error.http))
            body = {
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": error.message,
                "reason": error.reason, "code": error.http,
            }  # fmt: skip
            await self._send(http, writer, error.http, body)
        return http.our_state is h11.DONE

    def _document(self, path: str) -> Any:
        if path == POD_PATH:
            return {"kind": "Pod", "apiVersion": "v1", **codec.encode(self.store.pod)}
        if path not in _DOCUMENTS:
            raise NotFound(f"no such path: {path}")
        return _DOCUMENTS[path]

    async def _log(self, http: h11.Connection, writer: asyncio.StreamWriter, request: StreamRequest) -> None:
        chunks = self.endpoint.logs(request)
        async with contextlib.aclosing(chunks):
            await anext(chunks)
            headers = [("content-type", "text/plain"), ("transfer-encoding", "chunked"), ("connection", "close")]
            writer.write(http.send(h11.Response(status_code=200, headers=headers)) or b"")
            async for chunk in chunks:
                writer.write(http.send(h11.Data(data=chunk)) or b"")
                await writer.drain()
        writer.write(http.send(h11.EndOfMessage()) or b"")
        await writer.drain()

    async def _send(self, http: h11.Connection, writer: asyncio.StreamWriter, code: int, document: Any) -> None:
        body = json.dumps(document).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
        for event in (h11.Response(status_code=code, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            writer.write(http.send(event) or b"")
        await writer.drain()


def _headers(head: h11.Request) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in head.headers:
        found.setdefault(name.decode(), []).append(value.decode())
    return found


@contextlib.asynccontextmanager
async def serving(timeouts: Timeouts = QUICK) -> AsyncIterator[StreamServer]:
    server = StreamServer(timeouts)
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0, limit=64 << 10)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for client in server.clients:
            client.close()
            if client.transport.get_write_buffer_size():
                client.transport.abort()
        for task in [*server.tasks]:
            task.cancel()
        await asyncio.gather(*server.tasks, *(client.wait_closed() for client in server.clients), return_exceptions=True)
