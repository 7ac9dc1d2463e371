"""Debian's docker-registry for tests, and a small uploader; also a registry of our own that does what no good one does."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import platform
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from nodeagent.linux import syscalls
from tests.support import archives
from tests.support.archives import digest

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
OCI = "application/vnd.oci.image"
# bcrypt of "secret", for the user "user".
HTPASSWD = "user:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n"


@dataclass(frozen=True)
class Packed:
    """An image as a registry keeps it: blobs by digest, and the manifests, the one that a tag names last."""

    blobs: dict[str, bytes]
    manifests: list[tuple[str, bytes]]

    @property
    def digest(self) -> str:
        return digest(self.manifests[-1][1])


def packed(*layers: bytes, compress: Callable[[bytes], bytes] = gzip.compress, kind: str = "gzip", **config: Any) -> Packed:
    """An OCI image of plain layers."""
    body = archives.config_of(*layers, **config)
    blobs = {digest(body): body}
    listed = []
    for layer in layers:
        data = compress(layer)
        blobs[digest(data)] = data
        listed.append(descriptor(f"{OCI}.layer.v1.tar+{kind}" if kind else f"{OCI}.layer.v1.tar", data))
    manifest = {
        "schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json",
        "config": descriptor(f"{OCI}.config.v1+json", body), "layers": listed,
    }  # fmt: skip
    return Packed(blobs, [(f"{OCI}.manifest.v1+json", json.dumps(manifest).encode())])


def descriptor(kind: str, data: bytes, **more: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest(data), "size": len(data), **more}


def indexed(**by_architecture: Packed) -> Packed:
    """An index over images of several platforms."""
    blobs: dict[str, bytes] = {}
    manifests: list[tuple[str, bytes]] = []
    listed = []
    for architecture, image in by_architecture.items():
        blobs |= image.blobs
        manifests += image.manifests
        where = {"os": "linux", "architecture": architecture}
        listed.append(descriptor(*image.manifests[-1], platform=where))
    body = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": listed}
    return Packed(blobs, [*manifests, (f"{OCI}.index.v1+json", json.dumps(body).encode())])


def push(address: str, repository: str, image: Packed, *, tag: str = "1", headers: dict[str, str] | None = None) -> None:
    """To a registry at host:port that speaks plain HTTP. Raises AssertionError."""
    connection = http.client.HTTPConnection(address, timeout=30)

    def ask(method: str, path: str, body: bytes = b"", **more: str) -> http.client.HTTPResponse:
        connection.request(method, path, body, {**(headers or {}), **more})
        response = connection.getresponse()
        said = response.read()
        assert response.status in (200, 201, 202), (method, path, response.status, said[:300])
        return response

    for name, data in image.blobs.items():
        begun = ask("POST", f"/v2/{repository}/blobs/uploads/")
        place = begun.headers["Location"].partition(address)[2] or begun.headers["Location"]
        ask("PUT", f"{place}{'&' if '?' in place else '?'}digest={name}", data, **{"Content-Type": "application/octet-stream"})
    for number, (kind, body) in enumerate(image.manifests):
        last = number == len(image.manifests) - 1
        ask("PUT", f"/v2/{repository}/manifests/{tag if last else digest(body)}", body, **{"Content-Type": kind})
    connection.close()


def in_namespace(path: Path, work: Callable[[], Any]) -> None:
    """Run `work` in a network namespace, in a thread of its own that ends with it."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            syscalls.setns(descriptor, syscalls.CLONE_NEWNET)
            os.close(descriptor)
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not failures, failures


class Registry:
    """A docker-registry process. `words` run it elsewhere (nsenter); its folder survives `stop`."""

    def __init__(self, folder: Path, address: str, *, words: tuple[str, ...] = (), auth: bool = False) -> None:
        self.address = address
        self._folder = folder
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        config: dict[str, Any] = {
            "version": "0.1", "log": {"accesslog": {"disabled": False}, "level": "info"},
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
            "http": {"addr": address},
        }  # fmt: skip
        if auth:
            (folder / "htpasswd").write_text(HTPASSWD)
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
        # YAML is a superset of JSON.
        (folder / "config.yml").write_text(json.dumps(config))

    def start(self, answers: Callable[[], bool] | None = None) -> None:
        with open(self._folder / "log", "ab") as log:
            command = [*self._words, "docker-registry", "serve", str(self._folder / "config.yml")]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while not (answers or self._answers)():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def _answers(self) -> bool:
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def blob_file(self, name: str) -> Path:
        value = name.removeprefix("sha256:")
        return self._folder / "data/docker/registry/v2/blobs/sha256" / value[:2] / value / "data"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def registry(folder: Path, *, auth: bool = False) -> Iterator[Registry]:
    found = Registry(folder, f"127.0.0.1:{free_port()}", auth=auth)
    found.start()
    try:
        yield found
    finally:
        found.stop()


@dataclass
class Rogue:
    """A registry that answers as a test says. `answer` gets the request and returns status, headers and body."""

    answer: Callable[[BaseHTTPRequestHandler], tuple[int, dict[str, str], bytes]]
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    address: str = ""

    def asked(self, part: str) -> list[tuple[str, str, dict[str, str]]]:
        return [item for item in self.requests if part in item[1]]


def serving(image: Packed, *, tag: str = "1") -> Callable[[BaseHTTPRequestHandler], tuple[int, dict[str, str], bytes]]:
    """What an honest registry answers for one image, by whatever repository; blobs with ranges."""

    def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        name = request.path.partition("?")[0].rpartition("/")[2]
        if "/manifests/" in request.path:
            for kind, body in reversed(image.manifests):
                if name in (tag, digest(body)):
                    return 200, {"Content-Type": kind, "Docker-Content-Digest": digest(body)}, body
        elif name in image.blobs:
            data = image.blobs[name]
            start = int((request.headers.get("Range") or "bytes=0-")[6:].rstrip("-"))
            if start:
                return 206, {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}, data[start:]
            return 200, {}, data
        return 404, {}, b"{}"

    return answer


@contextmanager
def rogue(
    answer: Callable[[BaseHTTPRequestHandler], tuple[int, dict[str, str], bytes]], *, pem: Path | None = None
) -> Iterator[Rogue]:
    """With `pem`, a certificate and its key in one file, it speaks HTTPS."""
    found = Rogue(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found.requests.append((self.command, self.path, dict(self.headers)))
            status, headers, body = found.answer(self)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                # Lines of one value are headers of one name.
                for line in value.split("\n"):
                    self.send_header(name, line)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_POST = do_PUT = do_PATCH = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if pem is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    found.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
