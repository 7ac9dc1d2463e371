"""A real etcd server of one member, for as long as a block."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

START_DEADLINE = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(folder: Path, *, tls: ssl.SSLContext | None = None, flags: Sequence[str] = ()) -> Iterator[str]:
    """The endpoint, once the server is healthy. With `flags` that make it serve TLS, `tls` is a client of it."""
    binary = shutil.which("etcd")
    if binary is None:
        pytest.skip("etcd is not installed (Debian: etcd-server)")
    endpoint, peer = f"127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    client = f"{'https' if tls else 'http'}://{endpoint}"
    command = [
        binary, "--name=test", f"--data-dir={folder / 'data'}", "--unsafe-no-fsync",
        f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=test={peer}", *flags,
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_DEADLINE
        while not _healthy(client, tls):
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"etcd did not start:\n{(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        yield endpoint
    finally:
        server.terminate()
        server.wait()


def _healthy(url: str, tls: ssl.SSLContext | None) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1, context=tls) as answer:
            return b"true" in answer.read()
    except (urllib.error.URLError, OSError):
        return False
