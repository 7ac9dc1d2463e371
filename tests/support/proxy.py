"""A forward proxy for tests: CONNECT and absolute URLs, all led to one server whatever name is asked for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest


@dataclass
class Proxy:
    """`asked` holds the request lines, `authorizations` their Proxy-Authorization headers."""

    address: str
    asked: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)


@contextmanager
def proxy(target: str, *, wants: str = "", host: str = "127.0.0.1") -> Iterator[Proxy]:
    """Leads to `target` (host:port). With `wants` other values of Proxy-Authorization are answered 407."""
    found = Proxy("")

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            line = self.rfile.readline().decode()
            headers = {}
            while (text := self.rfile.readline().decode().strip()) != "":
                name, _, value = text.partition(":")
                headers[name.lower()] = value.strip()
            found.asked.append(line.strip())
            found.authorizations.append(headers.get("proxy-authorization", ""))
            if wants and headers.get("proxy-authorization") != wants:
                self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            self._relay(line, headers)

        def _relay(self, line: str, headers: dict[str, str]) -> None:
            method, url, version = line.split()
            name, _, port = target.rpartition(":")
            with socket.create_connection((name, int(port)), 10) as upstream:
                if method == "CONNECT":
                    self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    path = "/" + url.split("/", 3)[3]
                    kept = {key: value for key, value in headers.items() if not key.startswith("proxy-")}
                    kept["connection"] = "close"
                    lines = [f"{method} {path} {version}", *(f"{key}: {value}" for key, value in kept.items()), "", ""]
                    upstream.sendall("\r\n".join(lines).encode())
                pump = threading.Thread(target=_pump, args=(self.connection, upstream), daemon=True)
                pump.start()
                _pump(upstream, self.connection)
                pump.join(10)

    class Server(ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

    server = Server((host, 0), Handler)
    found.address = f"{host}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(64 << 10):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@contextmanager
def through_proxy(target: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that the environment names for everything."""
    with proxy(target) as found:
        for name in ("GRPC_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{found.address}")
            monkeypatch.setenv(name.lower(), f"http://{found.address}")
        for name in ("NO_PROXY", "NO_GRPC_PROXY"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)
        yield found
