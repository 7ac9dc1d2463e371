"""The agent's connection to its launcher: one socket, many requests under way, a new launcher when there is none.

The launcher is not the agent's child to lose: it outlives the agent, and when it is gone a new one is started before
the next request.
"""

from __future__ import annotations

import array
import asyncio
import hashlib
import itertools
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from nodeagent.launcher import protocol
from nodeagent.linux import syscalls as sc
from nodeagent.runtime import jsonfields
from nodeagent.runtime.interface import RuntimeLost, StartError
from pinnace.clock import Clock

log = logging.getLogger("pinnace.runtime")
# Seconds: to start launchers again that end early, and for one that runs to listen or to answer a request (an image on a slow
# disk, a busy machine).
LAUNCHER_WITHIN = 10.0
ANSWER_WITHIN = 60.0
# Its `__main__`, and all that it and its forks run.
PROGRAM = Path(__file__).resolve().parent.parent / "launcher"
CODE = (PROGRAM, PROGRAM.parent / "linux")


class LauncherLink:
    def __init__(self, folder: Path, clock: Clock) -> None:
        """`folder` holds the launcher's socket; it must be short, for a Unix socket's path is."""
        self._socket_path = folder / "launcher.sock"
        self._log_path = folder / "launcher.log"
        self._clock = clock
        self._socket: socket.socket | None = None
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ids = itertools.count(1)
        self._connecting = asyncio.Lock()
        self._version = _version()
        self.launcher: subprocess.Popen[bytes] | None = None

    async def request(self, fields: dict[str, Any], descriptors: tuple[int, ...] = ()) -> dict[str, Any]:
        """One request, answered. Raises StartError, RuntimeLost when there was no answer to get."""
        number = next(self._ids)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        payload = jsonfields.dumps({"id": number, **fields})
        if len(payload) > protocol.MAX_MESSAGE:
            raise StartError(f"the command is longer than {protocol.MAX_MESSAGE} bytes")
        self._answers[number] = answer
        try:
            await self._send(payload, descriptors)
            async with asyncio.timeout(ANSWER_WITHIN):
                result = await answer
        except TimeoutError:
            raise RuntimeLost(f"the launcher did not answer within {ANSWER_WITHIN:.0f} s") from None
        finally:
            self._answers.pop(number, None)
        if "lost" in result:
            raise RuntimeLost(result["lost"])
        if "error" in result:
            raise StartError(result["error"])
        ok: dict[str, Any] = result["ok"]
        return ok

    async def _send(self, payload: bytes, descriptors: tuple[int, ...]) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        for attempt in range(3):
            connection = await self.connected()
            try:
                connection.sendmsg([payload], rights)
                return
            except BlockingIOError:
                # The queue of the socket is full: many starts at once.
                await self._clock.sleep(0.01)
            except OSError:
                self.disconnect()
                if attempt == 2:
                    raise RuntimeLost("the launcher cannot be reached") from None
        for _ in range(500):
            try:
                (await self.connected()).sendmsg([payload], rights)
                return
            except BlockingIOError:
                await self._clock.sleep(0.01)
        raise RuntimeLost("the launcher is too busy")

    async def connected(self) -> socket.socket:
        """The socket, with a launcher at its other end. Raises RuntimeLost."""
        async with self._connecting:
            if self._socket is None:
                self._socket = await self._connect()
                asyncio.get_running_loop().add_reader(self._socket, self._readable)
            return self._socket

    async def _connect(self) -> socket.socket:
        began = self._clock.monotonic()
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
            try:
                connection.connect(str(self._socket_path))
                if await self._is_current(connection):
                    return connection
                # Of another version of the agent. What it has under way continues in its forks; monitors need no launcher.
                _end(connection)
            except OSError:
                pass
            connection.close()
            if not (runs := self.launcher is not None and self.launcher.poll() is None):
                self._spawn()
            # Without processor time Python takes long to start; another launcher would take longer.
            if self._clock.monotonic() - began > (ANSWER_WITHIN if runs else LAUNCHER_WITHIN):
                raise RuntimeLost(f"the launcher did not start; see {self._log_path}")
            await self._clock.sleep(0.005)

    async def _is_current(self, connection: socket.socket) -> bool:
        """Whether the launcher at the other end runs the code that this agent would start. Raises OSError."""
        request: protocol.GetVersion = {"id": 0, "op": "version"}
        connection.send(json.dumps(request).encode())
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(LAUNCHER_WITHIN):
                answer: protocol.Answer = json.loads(await loop.sock_recv(connection, protocol.MAX_MESSAGE) or b"{}")
        except TimeoutError:
            raise ConnectionResetError("the launcher does not answer") from None
        return dict(answer.get("ok", {})) == {"version": self._version}

    def _spawn(self) -> None:
        command = [sys.executable, "-I", "-S", str(PROGRAM), str(self._socket_path), self._version]
        program = _sealed(os.path.realpath(sys.executable))
        try:
            with _appended(self._log_path) as log:
                self.launcher = subprocess.Popen(
                    command, executable=f"/proc/self/fd/{program}", pass_fds=(program,), stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log, start_new_session=True, cwd="/",
                )  # fmt: skip
        finally:
            os.close(program)

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(protocol.MAX_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.disconnect()
            return
        answer: dict[str, Any] = json.loads(data)
        waiting = self._answers.get(answer["id"])
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def disconnect(self) -> None:
        """Let go of the launcher, which stays."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        # Monitors answer on the connection they inherited, so what was under way is now unknown.
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_result({"lost": "the launcher ended"})


def _version() -> str:
    """The digest of the code that the launcher and its forks run, and of the Python that runs it."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(path for directory in CODE for path in directory.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _end(connection: socket.socket) -> None:
    """End the process that listens at the other end (unix(7), SO_PEERCRED), and its idle forks with it."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid = int(struct.unpack("3i", credentials)[0])
    log.info("launcher_replaced pid=%d", pid)
    os.kill(pid, signal.SIGTERM)


def _appended(path: Path) -> IO[bytes]:
    """A log file; on a disk that cannot be written there is none."""
    try:
        return open(path, "ab")
    except OSError:
        return open("/dev/null", "ab")


def _sealed(path: str) -> int:
    """A descriptor of a program through a read-only mount of its own.

    The program that becomes a container's is Python until then, and a container can have /proc/self/exe run in place of
    its own: what it then finds there is this mount, through which nobody can write to the host's Python (CVE-2019-5736).
    """
    tree = sc.open_tree(sc.AT_FDCWD, path)
    sc.mount_setattr(tree, sc.MOUNT_ATTR_RDONLY)
    return tree
