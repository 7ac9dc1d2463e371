"""The three backends, each fresh for its test. etcd is a real server, one for the session."""

from __future__ import annotations

import itertools
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from controlplane.store.backend import Backend
from controlplane.store.etcd import EtcdBackend
from controlplane.store.memory import MemoryBackend
from controlplane.store.sqlite import SQLiteBackend

START_DEADLINE = 30.0
_roots = (f"/test{number}" for number in itertools.count())

Opener = Callable[[], Backend]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
            return b"true" in answer.read()
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a real etcd server."""
    binary = shutil.which("etcd")
    if binary is None:
        pytest.skip("etcd is not installed (Debian: etcd-server)")
    folder, endpoint = tmp_path_factory.mktemp("etcd"), f"127.0.0.1:{free_port()}"
    client, peer = f"http://{endpoint}", f"http://127.0.0.1:{free_port()}"
    command = [
        binary, "--name=test", f"--data-dir={folder / 'data'}", "--unsafe-no-fsync",
        f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=test={peer}",
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_DEADLINE
        while not _healthy(client):
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"etcd did not start:\n{(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        yield endpoint
    finally:
        server.terminate()
        server.wait()


class Remembered:
    """A state in memory that survives what its users call a close."""

    def __init__(self) -> None:
        self._backend = MemoryBackend()

    def open(self) -> Backend:
        return self._backend


def opener(name: str, request: pytest.FixtureRequest, folder: Path) -> Opener:
    """A function that opens one and the same state each time."""
    if name == "memory":
        return Remembered().open
    if name == "sqlite":
        return lambda: SQLiteBackend(folder / "state.db")
    endpoint, root = request.getfixturevalue("etcd"), next(_roots)
    return lambda: EtcdBackend([endpoint], root=root)


@pytest.fixture(params=["memory", "sqlite", "etcd"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    opened = opener(request.param, request, tmp_path)()
    yield opened
    await opened.close()


@pytest.fixture(params=["sqlite", "etcd"])
def durable(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens a backend whose state outlives it."""
    return opener(request.param, request, tmp_path)


@pytest.fixture(params=["memory", "sqlite", "etcd"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Opener]:
    """Each call makes the opener of a new, empty state."""
    numbers = itertools.count()
    return lambda: opener(request.param, request, tmp_path / str(next(numbers)))
