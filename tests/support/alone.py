"""A control plane as a process, without nodes, for tests of kctl that need nothing to run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import warmkctl
from tests.support.labs import PATIENCE

# Seconds until it listens.
START = 20.0


class Alone:
    """`kctl` runs the command with the administrator's context."""

    def __init__(self, state: Path) -> None:
        self.environment = {**os.environ, "PINNACE_CONFIG": str(state / "admin.yaml")}

    def kctl(self, *arguments: str, stdin: str | bytes = b"", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Exit code and output, as text; standard input is text or bytes."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = warmkctl.run(arguments, data, self.environment, cwd=cwd, within=60 * PATIENCE)
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@contextmanager
def running(directory: Path) -> Iterator[Alone]:
    """Its store is in memory, and it listens on a Unix socket only."""
    socket = directory / "sock"
    command = [sys.executable, "-m", "controlplane", "--state-dir", str(directory / "state"), "--store", "memory"]
    command += ["--listen", "", "--web", "", "--socket", str(socket), "--log-level", "WARNING"]
    with subprocess.Popen(command) as process:
        try:
            _await(socket, process)
            yield Alone(directory / "state")
        finally:
            process.terminate()


def _await(socket: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START * PATIENCE
    while not socket.exists():
        assert process.poll() is None, "the control plane ended"
        assert time.monotonic() < deadline, "the control plane does not listen"
        time.sleep(0.05)
