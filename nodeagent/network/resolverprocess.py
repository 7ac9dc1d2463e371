"""The resolver's process: found, replaced or started.

It is not the agent's child to lose: it serves on when the agent ends, and the next agent finds it by its socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nodeagent.dns.options import Options
from pinnace.clock import Clock

log = logging.getLogger("pinnace.dns")
# Seconds until it serves or has ended, and between looks.
WITHIN, LOOK = 15.0, 0.02
# Seconds until it has answered, or ended when it is told to; and attempts in a row without that after which it is killed.
ANSWER_WITHIN, MAX_UNANSWERED = 10.0, 2
# Bytes of a line: its metrics.
MAX_LINE = 1 << 20
# Bytes of the log of earlier processes that are kept.
_MAX_LOG = 1 << 20
PROGRAM = Path(__file__).resolve().parent.parent / "dns"
_ROOT = PROGRAM.parent.parent
# All that it runs: directories of modules, and modules.
CODE = (
    PROGRAM, _ROOT / "pinnace" / "dns", _ROOT / "nodeagent" / "linux", _ROOT / "nodeagent" / "__init__.py",
    *(_ROOT / "pinnace" / name for name in ("__init__.py", "clock.py", "memory.py", "shares.py")),
)  # fmt: skip

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ResolverProcess:
    """`directory` gets its socket (whose path must be short), its log and its root; `seccomp` gives the file of a filter, or
    empty."""

    def __init__(self, directory: Path, clock: Clock, *, seccomp: Callable[[], str], port: int = 53) -> None:
        self._directory, self._clock, self._seccomp, self._port = directory, clock, seccomp, port
        self._code = _digest()
        self.process: subprocess.Popen[bytes] | None = None
        self._unanswered = 0

    @property
    def log(self) -> Path:
        return self._directory / "log"

    async def connected(self, addresses: Sequence[str]) -> Streams:
        """To a process of this version for these addresses. One that repeatedly does not answer is killed, so that a later call
        starts another. Raises OSError, TimeoutError, ValueError."""
        root = self._directory / "root"
        root.mkdir(parents=True, exist_ok=True, mode=0o755)
        # The resolver's user passes through it, to nothing: its root is below.
        control = self._directory / "control"
        options = Options(str(control), tuple(addresses), str(root), self._seccomp(), "", self._port)
        version = hashlib.sha256(f"{self._code} {options.text()}".encode()).hexdigest()
        options = Options(str(control), tuple(addresses), str(root), options.seccomp, version, self._port)
        if self.process is not None and self.process.poll() is not None:
            self.process = None
        async with asyncio.timeout(WITHIN):
            while True:
                with contextlib.suppress(ConnectionError, FileNotFoundError):
                    streams = await asyncio.open_unix_connection(str(control), limit=MAX_LINE)
                    if await self._serves(streams, version):
                        return streams
                if self.process is None:
                    self.process = self._start(options)
                elif (code := self.process.poll()) is not None:
                    self.process = None
                    raise OSError(f"the resolver ended with code {code}: {self._last_line()}")
                await self._clock.sleep(LOOK)

    async def _serves(self, streams: Streams, version: str) -> bool:
        """Whether it is of this version; another one has ended then. Raises ConnectionError, TimeoutError, ValueError."""
        found = False
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                found = await _version(streams) == version
                if not found:
                    await self._end(streams)
            self._unanswered = 0
        except TimeoutError:
            self._unanswered += 1
            if self._unanswered >= MAX_UNANSWERED:
                self._kill(_peer(streams))
            raise
        finally:
            if not found:
                streams[1].transport.abort()
        return found

    def _kill(self, pid: int) -> None:
        log.error("resolver_killed pid=%d unanswered=%d", pid, self._unanswered)
        self._unanswered = 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _start(self, options: Options) -> subprocess.Popen[bytes]:
        # Without docstrings it is a megabyte smaller.
        command = [sys.executable, "-I", "-S", "-OO", str(PROGRAM), str(_library().parent), options.text()]
        if self.log.exists() and self.log.stat().st_size > _MAX_LOG:
            self.log.unlink()
        with open(os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab") as out:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd="/"
            )  # fmt: skip

    def _last_line(self) -> str:
        try:
            return self.log.read_text(errors="replace").strip().rpartition("\n")[2][:500]
        except OSError as error:
            return str(error)

    async def _end(self, streams: Streams) -> None:
        """The process at the other end, of another version or for other addresses."""
        pid = _peer(streams)
        log.info("resolver_replaced pid=%d", pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        # Its sockets are free when this one ends.
        while await streams[0].read(MAX_LINE):
            pass
        if self.process is not None and self.process.pid == pid:
            while self.process.poll() is None:
                await self._clock.sleep(LOOK)
            self.process = None


def _peer(streams: Streams) -> int:
    """The PID of the process at the other end (unix(7), SO_PEERCRED)."""
    sock: socket.socket = streams[1].get_extra_info("socket")
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[0])


async def _version(streams: Streams) -> str:
    """Raises ConnectionError, ValueError."""
    streams[1].write(b'{"ask": "version"}\n')
    await streams[1].drain()
    line = await streams[0].readline()
    if not line:
        raise ConnectionResetError("the resolver has ended")
    return str(json.loads(line).get("version"))


def _library() -> Path:
    """The directory of dnspython, which is not imported here. Raises OSError."""
    found = importlib.util.find_spec("dns")
    if found is None or found.origin is None:
        raise FileNotFoundError("dnspython is not installed")
    return Path(found.origin).parent


def code() -> list[Path]:
    """The files of `CODE`."""
    return sorted(path for part in CODE for path in (part.glob("*.py") if part.is_dir() else [part]))


def _digest() -> str:
    """Of the code that it runs, of the Python that runs it, and of the library."""
    digest = hashlib.sha256(sys.version.encode() + (_library() / "version.py").read_bytes())
    for path in code():
        digest.update(f"{path.relative_to(_ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()
