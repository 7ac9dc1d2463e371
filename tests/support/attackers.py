"""Hostile clients of the HTTPS port of a `Plane`, and a probe that tells what they cost other clients."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.support.labs import PATIENCE
from tests.support.planes import Plane

# Seconds that an attack may delay a request of another client, on a machine whose cores other tests use too, and megabytes
# that it may leave in the control plane.
DELAY, GROWTH = 2.0, 48
PROBE, ATTACKER = "127.0.0.9", "127.0.0.2"


class Answer(NamedTuple):
    """`status` is 0 for a connection that ended without an answer."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json["message"])


class Attacked:
    """A control plane, and connections to it as its administrator, as a stranger, or with another certificate."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        config = yaml.safe_load((plane.folder / "admin.yaml").read_text())
        user, ca = config["users"][0]["user"], config["clusters"][0]["cluster"]["certificate-authority-data"]
        pair = plane.folder / "pair.pem"
        pair.write_bytes(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        self._ca = base64.b64decode(ca).decode()
        self.stranger = ssl.create_default_context(cadata=self._ca)
        self.administrator = self.with_certificate(pair)

    def with_certificate(self, certificate: Path, key: Path | None = None) -> ssl.SSLContext:
        made = ssl.create_default_context(cadata=self._ca)
        made.load_cert_chain(certificate, key)
        return made

    def tcp(self, source: str = ATTACKER) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.plane.web), 20, source_address=(source, 0))

    def connect(self, tls: ssl.SSLContext | None = None, source: str = ATTACKER) -> ssl.SSLSocket:
        return (tls or self.administrator).wrap_socket(self.tcp(source), server_hostname="127.0.0.1")

    def send(self, data: bytes, tls: ssl.SSLContext | None = None) -> Answer:
        """Bytes on a connection of their own, and the first answer to them."""
        with self.connect(tls) as sock:
            # An answer may come, and the connection end, before everything is sent.
            with suppress(OSError):
                sock.sendall(data)
            return receive(sock)

    def ask(
        self, method: str, path: str, body: Any = b"", *, tls: ssl.SSLContext | None = None, token: str = "", **headers: str
    ) -> Answer:
        if token:
            tls, headers = self.stranger, {**headers, "authorization": f"Bearer {token}"}
        return self.send(request(method, path, body, connection="close", **headers), tls)

    @property
    def memory(self) -> int:
        """Resident megabytes of the control plane."""
        assert self.plane.process is not None
        lines = Path(f"/proc/{self.plane.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmRSS:"))

    @contextmanager
    def unharmed(self, *, delay: float = DELAY, growth: int = GROWTH) -> Iterator[None]:
        """The requests of a probe succeed meanwhile, each within `delay` seconds of patience; the process grows by `growth` at most."""
        before, probe = self.memory, Probe(self)
        probe.start()
        try:
            yield
        finally:
            probe.stop()
        assert not probe.failures, probe.failures
        assert probe.count, "no request of the probe was answered"
        assert probe.worst < delay * PATIENCE, f"a request took {probe.worst:.1f} s"
        assert self.memory - before < growth, f"the control plane grew by {self.memory - before} MB"


class Probe(threading.Thread):
    """Reads configmaps again and again, on one connection from its own address."""

    def __init__(self, attacked: Attacked) -> None:
        super().__init__(daemon=True)
        self._attacked = attacked
        self._stopping = threading.Event()
        self.worst, self.count = 0.0, 0
        self.failures: list[str] = []

    def run(self) -> None:
        try:
            with self._attacked.connect(source=PROBE) as sock:
                while True:
                    began = time.monotonic()
                    sock.sendall(request("GET", "/api/v1/namespaces/kube-system/configmaps"))
                    answer = receive(sock)
                    self.worst, self.count = max(self.worst, time.monotonic() - began), self.count + 1
                    if answer.status != 200:
                        self.failures.append(str(answer))
                    if self._stopping.wait(0.02):
                        return
        except OSError as error:
            self.failures.append(repr(error))

    def stop(self) -> None:
        self._stopping.set()
        self.join(30)


def request(method: str, path: str, body: Any = b"", **headers: str) -> bytes:
    """`headers` with underscores for dashes; a body that is not bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "host: x", f"content-length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data


def receive(sock: socket.socket) -> Answer:
    """One answer. The body of one in chunks is as it came, with their sizes."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (piece := _received(sock)):
            return Answer(0, data)
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2]) if lengths else 1 << 62
    while len(body) < length and not (not lengths and body.endswith(b"\r\n0\r\n\r\n")):
        if not (piece := _received(sock)):
            break
        body += piece
    return Answer(int(head.split()[1]), body)


def _received(sock: socket.socket) -> bytes:
    """Empty at the end of the connection, however it comes."""
    try:
        return sock.recv(1 << 16)
    except (ConnectionError, ssl.SSLError):
        return b""
