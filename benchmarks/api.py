"""The REST API on SQLite, from another process: latency, throughput, watches and their memory, and kubectl as a whole process."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from support import DEADLINE, percentiles

PODS, CONNECTIONS, CREATES, GETS, LISTS = 500, 16, 1000, 300, 30
WATCHES, DELAYS, RATE = 1000, 600, 200
KUBECTL = 10
URL = "/api/v1/namespaces/default/pods"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def control_plane(folder: Path) -> Iterator[tuple[int, int]]:
    """The port of the HTTPS API and the pid of a control plane without nodes, whose scheduler rests."""
    grpc, web = free_port(), free_port()
    command = [
        sys.executable, "-P", "-m", "controlplane", "--state-dir", str(folder), "--listen", f"127.0.0.1:{grpc}",
        "--web", f"127.0.0.1:{web}", "--advertise", "127.0.0.1", "--disable-controller", "scheduler", "--log-level", "WARNING",
    ]  # fmt: skip
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + DEADLINE
        while not _listens(web):
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit("the control plane does not start")
            time.sleep(0.05)
        yield web, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Client:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        self._send(method, path, body, headers)
        status, length = await self._head()
        if length is not None:
            return status, await self._reader.readexactly(length)
        return status, b"".join([chunk async for chunk in self._chunks()])

    async def watch(self, path: str) -> AsyncIterator[bytes]:
        self._send("GET", path, b"", {})
        await self._head()
        async for chunk in self._chunks():
            yield chunk

    def _send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> None:
        lines = [f"{method} {path} HTTP/1.1", "host: x", f"content-length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self._writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def _head(self) -> tuple[int, int | None]:
        lines = (await self._reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        lengths = [int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")]
        return int(lines[0].split()[1]), lengths[0] if lengths else None

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readuntil(b"\r\n")

    def close(self) -> None:
        self._writer.transport.abort()


class Server:
    def __init__(self, folder: Path, port: int) -> None:
        config = yaml.safe_load((folder / "admin.yaml").read_text())
        pair = folder / "pair.pem"
        user, ca = config["users"][0]["user"], config["clusters"][0]["cluster"]["certificate-authority-data"]
        pair.write_bytes(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        self.port = port
        self._tls = ssl.create_default_context(cadata=base64.b64decode(ca).decode())
        self._tls.load_cert_chain(pair)

    async def connect(self) -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", self.port, ssl=self._tls, limit=8 << 20))


def pod(name: str) -> bytes:
    spec = {"containers": [{"name": "main", "image": "busybox", "resources": {"requests": {"cpu": "10m", "memory": "8Mi"}}}]}
    return json.dumps({"metadata": {"name": name, "labels": {"app": "bench"}}, "spec": spec}).encode()


async def timed(count: int, call: Callable[[int], Awaitable[Any]]) -> list[float]:
    """Milliseconds of each call."""
    took = []
    for number in range(count):
        begun = time.perf_counter()
        await call(number)
        took.append((time.perf_counter() - begun) * 1000)
    return took


async def throughput(server: Server, count: int, call: Callable[[Client, int], Awaitable[tuple[int, bytes]]]) -> float:
    """Calls per second of several connections together. Every call has to succeed."""
    clients = [await server.connect() for _ in range(CONNECTIONS)]
    numbers = iter(range(count))

    async def work(client: Client) -> None:
        for number in numbers:
            status, body = await call(client, number)
            if status >= 300:
                raise SystemExit(f"{status}: {body[:300]!r}")

    begun = time.perf_counter()
    await asyncio.gather(*(work(client) for client in clients))
    took = time.perf_counter() - begun
    for client in clients:
        client.close()
    return round(count / took, 1)


async def delays(server: Server) -> dict[str, float]:
    """Milliseconds from sending a write to seeing it in a watch, while others are written at RATE a second."""
    watcher, writer = await server.connect(), await server.connect()
    sent: dict[str, float] = {}
    took: list[float] = []
    ready = asyncio.Event()

    async def read() -> None:
        async for chunk in watcher.watch("/api/v1/namespaces/kube-public/configmaps?watch=1&allowWatchBookmarks=true"):
            ready.set()
            for line in chunk.splitlines():
                name = json.loads(line)["object"]["metadata"].get("name", "")
                if name in sent:
                    took.append((time.perf_counter() - sent.pop(name)) * 1000)
            if len(took) == DELAYS:
                return

    reading = asyncio.create_task(read())
    await writer.ask("POST", "/api/v1/namespaces/kube-public/configmaps", b'{"metadata":{"name":"first"}}')
    await ready.wait()
    begun = time.perf_counter()
    for number in range(DELAYS):
        await asyncio.sleep(max(0.0, begun + number / RATE - time.perf_counter()))
        name = f"d{number}"
        sent[name] = time.perf_counter()
        await writer.ask("POST", "/api/v1/namespaces/kube-public/configmaps", b'{"metadata":{"name":"%s"}}' % name.encode())
    async with asyncio.timeout(30):
        await reading
    watcher.close()
    writer.close()
    return percentiles(took)


def memory(pid: int) -> int:
    """Proportional set size in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


async def watches(server: Server, pid: int) -> float:
    """Megabytes that open watches of an empty namespace take in the control plane, sockets of this process aside."""
    before, clients = memory(pid), []
    for _ in range(WATCHES):
        # Handshakes of one address are rationed: 50 a second.
        await asyncio.sleep(0.025)
        client = await server.connect()
        client._send("GET", "/api/v1/namespaces/kube-system/pods?watch=1", b"", {})
        await client._head()
        clients.append(client)
    await asyncio.sleep(2)
    grown = memory(pid) - before
    for client in clients:
        client.close()
    return round(grown / (1 << 20), 2)


def kubectl(folder: Path, port: int) -> dict[str, Any]:
    """Whole processes, in milliseconds; nothing without a kubectl on the PATH."""
    path = shutil.which("kubectl")
    if path is None:
        return {"kubectl_get_pods_ms": None, "kubectl_version_ms": None}
    config = yaml.safe_load((folder / "admin.yaml").read_text())
    config |= {"apiVersion": "v1"}
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    environment = {**os.environ, "KUBECONFIG": str(file), "HOME": str(folder)}
    found = {}
    for name, words in (
        ("kubectl_version_ms", ["version", "--client"]),
        ("kubectl_get_pods_ms", ["get", "pods", "-l", "app=none"]),
    ):
        took = []
        for _ in range(KUBECTL):
            begun = time.perf_counter()
            subprocess.run([path, *words], check=True, capture_output=True, env=environment, timeout=DEADLINE)
            took.append((time.perf_counter() - begun) * 1000)
        found[name] = percentiles(took)
    return found


async def measure(folder: Path, port: int, pid: int) -> dict[str, Any]:
    server = Server(folder, port)
    client = await server.connect()
    for number in range(PODS):
        await client.ask("POST", URL, pod(f"p{number}"))
    status = b'{"status":{"message":"%d"}}'
    merge = {"content_type": "application/merge-patch+json"}
    return {
        "get_ms": percentiles(await timed(GETS, lambda n: client.ask("GET", f"{URL}/p{n}"))),
        "list_500_pods_ms": percentiles(await timed(LISTS, lambda n: client.ask("GET", URL))),
        "list_500_pods_table_ms": percentiles(await timed(LISTS, lambda n: client.ask("GET", URL, accept=TABLE))),
        "create_per_s": await throughput(server, CREATES, lambda c, n: c.ask("POST", URL, pod(f"c{n}"))),
        "patch_status_per_s": await throughput(
            server, CREATES, lambda c, n: c.ask("PATCH", f"{URL}/c{n}/status", status % n, **merge)
        ),
        "watch_delay_ms": await delays(server),
        "watch_1000_clients_mb": await watches(server, pid),
        **await asyncio.to_thread(kubectl, folder, port),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as name, control_plane(Path(name)) as (port, pid):
        print(json.dumps(asyncio.run(measure(Path(name), port, pid))))


if __name__ == "__main__":
    main()
