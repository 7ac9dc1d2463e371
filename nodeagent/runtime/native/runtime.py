"""The agent's side of the native runtime: talks to the launcher, starts one when there is none, watches monitors.

The launcher is not the agent's child to lose: it outlives the agent, and when it is gone a new one is started before
the next request. Containers know nothing of either.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nodeagent import trees
from nodeagent.runtime.native import syscalls as sc
from nodeagent.runtime.native import terminals
from nodeagent.runtime.seam import ExecConfig, Exit, Handle, RuntimeLost, SandboxConfig, StartError
from pinnace.clock import Clock

# Seconds: to get the launcher up, and for one request (an image on a slow disk, a busy machine).
LAUNCHER_WITHIN = 10.0
ANSWER_WITHIN = 60.0
MAX_MESSAGE = 64 << 10
MONITOR_LOST = Exit(code=137, finished_at=0.0, signal=9, message="the container's monitor was killed")


class NativeRuntime:
    def __init__(self, folder: Path, clock: Clock) -> None:
        """`folder` holds the launcher's socket; it must be short, for a Unix socket's path is."""
        self._socket_path = folder / "launcher.sock"
        self._log_path = folder / "launcher.log"
        self._clock = clock
        self._socket: socket.socket | None = None
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ids = itertools.count(1)
        self._connecting = asyncio.Lock()
        self._launcher: subprocess.Popen[bytes] | None = None

    async def warm(self) -> None:
        """Have the launcher up before the first pod needs it. Raises StartError."""
        await self._connected()

    async def close(self) -> None:
        """Let go of the launcher; it and the containers stay."""
        self._disconnect()

    # Requests to the launcher

    async def _request(self, fields: dict[str, Any], descriptors: tuple[int, ...] = ()) -> dict[str, Any]:
        """One request, answered. Raises StartError, RuntimeLost when there was no answer to get."""
        number = next(self._ids)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        payload = json.dumps({"id": number, **fields}).encode()
        if len(payload) > MAX_MESSAGE:
            raise StartError(f"the command is longer than {MAX_MESSAGE} bytes")
        self._answers[number] = answer
        try:
            await self._send(payload, descriptors)
            result = await asyncio.wait_for(answer, ANSWER_WITHIN)
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
            connection = await self._connected()
            try:
                connection.sendmsg([payload], rights)
                return
            except BlockingIOError:
                # The queue of the socket is full: many starts at once.
                await self._clock.sleep(0.01)
            except OSError:
                self._disconnect()
                if attempt == 2:
                    raise RuntimeLost("the launcher cannot be reached") from None
        for _ in range(500):
            try:
                (await self._connected()).sendmsg([payload], rights)
                return
            except BlockingIOError:
                await self._clock.sleep(0.01)
        raise RuntimeLost("the launcher is too busy")

    async def _connected(self) -> socket.socket:
        async with self._connecting:
            if self._socket is None:
                self._socket = await self._connect()
                asyncio.get_running_loop().add_reader(self._socket, self._readable)
            return self._socket

    async def _connect(self) -> socket.socket:
        deadline = self._clock.monotonic() + LAUNCHER_WITHIN
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
            try:
                connection.connect(str(self._socket_path))
                return connection
            except OSError:
                connection.close()
            if self._launcher is None or self._launcher.poll() is not None:
                self._spawn()
            if self._clock.monotonic() > deadline:
                raise RuntimeLost(f"the launcher did not start; see {self._log_path}")
            await self._clock.sleep(0.005)

    def _spawn(self) -> None:
        command = [sys.executable, "-P", "-m", "nodeagent.runtime.native.launcher", str(self._socket_path)]
        program = _sealed(os.path.realpath(sys.executable))
        try:
            with open(self._log_path, "ab") as log:
                self._launcher = subprocess.Popen(
                    command, executable=f"/proc/self/fd/{program}", pass_fds=(program,), stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log, start_new_session=True, cwd="/",
                )  # fmt: skip
        finally:
            os.close(program)

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(MAX_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._disconnect()
            return
        answer = json.loads(data)
        waiting = self._answers.get(answer["id"])
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def _disconnect(self) -> None:
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        # Monitors answer on the connection they inherited, so what was under way is now unknown.
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_result({"lost": "the launcher ended"})

    # The Runtime protocol

    async def create_sandbox(self, config: SandboxConfig) -> None:
        config.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self._request({"op": "sandbox", **asdict(config), "folder": str(config.folder)})

    async def remove_sandbox(self, folder: Path) -> None:
        if folder.exists():
            await self._request({"op": "unpin", "folder": str(folder)})

    async def start(self, bundle: Path) -> Handle:
        return await self.launch(bundle, {})

    async def launch(self, bundle: Path, how: dict[str, Any]) -> Handle:
        """`start`, with what the launcher is to know besides: `oci`, to have an OCI runtime do it."""
        for name in ("upper", "work", "rootfs"):
            (bundle / name).mkdir(exist_ok=True, mode=0o755)
        try:
            state = await self._request({"op": "start", "bundle": str(bundle), **how})
        except StartError:
            # It may have begun all the same (the launcher was killed after the fork), and even ended.
            if await asyncio.to_thread(self.recover, bundle) is None:
                raise
            state = _record(bundle / "state.json") or {}
        return _handle(bundle, state)

    async def monitor_ended(self, handle: Handle) -> None:
        """Wait until nobody watches the container any more: it has ended, or its monitor was killed."""
        await _ended(handle.monitor, handle.monitor_start)

    async def wait(self, handle: Handle) -> Exit:
        await self.monitor_ended(handle)
        record = _record(handle.bundle / "exit.json")
        if record is not None:
            return _exit(record)
        # The monitor was killed; its init goes with it, but the kernel may need a moment.
        await _ended(handle.pid, handle.pid_start)
        return Exit(code=137, finished_at=self._clock.now(), signal=9, message=MONITOR_LOST.message)

    def recover(self, bundle: Path) -> Handle | Exit | None:
        started = (bundle / "state.json").exists() or (bundle / "exit.json").exists() or _cancel(bundle)
        if not started:
            return None
        record = _record(bundle / "exit.json")
        if record is not None:
            return _exit(record)
        state = _record(bundle / "state.json")
        return _handle(bundle, state) if state is not None else None

    async def exec(
        self,
        handle: Handle,
        config: ExecConfig,
        stdio: tuple[int, int, int] | None,
        terminal: Callable[[int], None] | None = None,
    ) -> int:
        request = {"op": "exec", "bundle": str(handle.bundle), "args": list(config.args), "env": list(config.env)}
        return await self._help(request | {"tty": config.tty}, stdio or (), terminal if config.tty else None)

    async def copy(self, handle: Handle, path: str, stdio: tuple[int, int, int], *, unpack: bool) -> int:
        return await self._help({"op": "copy", "bundle": str(handle.bundle), "path": path, "unpack": unpack}, stdio, None)

    async def _help(self, request: dict[str, Any], stdio: tuple[int, ...], terminal: Callable[[int], None] | None) -> int:
        """A helper of the launcher's, to its end; its exit code."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        # Closing ours ends the command and all that it started, also when we are killed.
        with ours:
            with theirs:
                await self._request(request, (*stdio, theirs.fileno()))
            if terminal is not None:
                terminal((await _message(ours))[1][0])
            return int((await _message(ours))[0] or b"137")


def _sealed(path: str) -> int:
    """A descriptor of a program through a read-only mount of its own.

    The program that becomes a container's is Python until then, and a container can have /proc/self/exe run in place of
    its own: what it then finds there is this mount, through which nobody can write to the host's Python (CVE-2019-5736).
    """
    tree = sc.open_tree(sc.AT_FDCWD, path)
    sc.mount_setattr(tree, sc.MOUNT_ATTR_RDONLY)
    return tree


def _cancel(bundle: Path) -> bool:
    """Make sure that a start which was asked for but not begun never begins; True when it had begun."""
    try:
        file = open(bundle / "config.json")
    except FileNotFoundError:
        return False
    with file:
        # A monitor holds this lock from before it looks for `cancelled` until its container runs.
        fcntl.flock(file, fcntl.LOCK_EX)
        if (bundle / "state.json").exists():
            return True
        (bundle / "cancelled").touch()
        return False


def _handle(bundle: Path, state: dict[str, Any]) -> Handle:
    return Handle(bundle, **{key: state[key] for key in ("pid", "pid_start", "monitor", "monitor_start", "started_at")})


def _exit(record: dict[str, Any]) -> Exit:
    return Exit(record["code"], record["finished_at"], record["signal"], record["oom_killed"])


def _record(path: Path) -> dict[str, Any] | None:
    """What a monitor left; None when it is not there, or torn by a power failure."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found


def start_time(pid: int) -> int:
    """See monitor.start_time; 0 when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def open_process(pid: int, started: int) -> int | None:
    """A pidfd of exactly this process, None when it has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if start_time(pid) != started:
        os.close(descriptor)
        return None
    return descriptor


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _ended(pid: int, started: int) -> None:
    """Wait until a process that is not our child has ended."""
    descriptor = open_process(pid, started)
    if descriptor is None:
        return
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _settle, done)
    try:
        await done
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _message(channel: socket.socket) -> tuple[bytes, list[int]]:
    """One message of an exec's helper and its descriptors; empty when it was killed."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(channel, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(channel)
    return terminals.receive(channel)


def discard(bundle: Path) -> None:
    """Delete a bundle's files. Symlinks in it are removed, never followed."""
    with contextlib.suppress(OSError):
        trees.remove(bundle)
