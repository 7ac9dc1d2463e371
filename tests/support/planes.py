"""A control plane process of its own, on loopback and without a lab: for tests of its ports and of who may use them."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cli.client import Client
from cli.contexts import current
from pinnace.api.v1 import cluster_pb2, cluster_pb2_grpc
from pinnace.errors import ApiError
from tests.support.labs import PATIENCE, eventually


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Plane:
    """`folder` is its state directory; the ports stay the same over restarts."""

    def __init__(self, folder: Path, *arguments: str, store: str = "sqlite", files: int = 0) -> None:
        """`files`: its limit of open files, 0 for the machine's."""
        self.folder = folder
        self.port, self.web = free_port(), free_port()
        self._arguments = [
            sys.executable, "-P", "-m", "controlplane", "--state-dir", str(folder), "--store", store,
            "--listen", f"127.0.0.1:{self.port}", "--web", f"127.0.0.1:{self.web}", "--advertise", "127.0.0.1", *arguments,
        ]  # fmt: skip
        self._files = files
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers."""

        def limit() -> None:
            if self._files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (min(self._files, 256), self._files))

        self.folder.mkdir(exist_ok=True, mode=0o700)
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(self._arguments, stdout=log, stderr=log, cwd="/", preexec_fn=limit)
        eventually(self.answers, within=20, every=0.05)

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        try:
            self.version()
        except (ApiError, OSError):
            return False
        return True

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.web}"

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=20 * PATIENCE)
            self.process = None

    @contextmanager
    def client(self) -> Iterator[Client]:
        """As the administrator, on a connection of its own."""
        flags: Any = SimpleNamespace(config=str(self.folder / "admin.yaml"), context="", namespace="")
        client = Client(current(flags))
        try:
            yield client
        finally:
            client.channel.close()

    def version(self) -> Any:
        with self.client() as client:
            stub = cluster_pb2_grpc.ClusterStub(client.channel)
            return client.call(stub.Version, cluster_pb2.VersionRequest(), timeout=10.0 * PATIENCE)

    def token(self, **request: Any) -> Any:
        """A join token with the CA's hash (JoinTokenResponse)."""
        with self.client() as client:
            stub = cluster_pb2_grpc.ClusterStub(client.channel)
            return client.call(stub.CreateJoinToken, cluster_pb2.JoinTokenRequest(**request))


@contextmanager
def plane(folder: Path, *arguments: str, **how: Any) -> Iterator[Plane]:
    """Running, and stopped at the end."""
    made = Plane(folder / "control", *arguments, **how)
    try:
        made.start()
        yield made
    finally:
        made.stop()
