"""The agent's side of the native runtime: asks the launcher (`link`) and watches monitors. Containers know nothing of
either."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nodeagent.launcher import bundle as names
from nodeagent.linux import terminals
from nodeagent.linux.processes import ended, kill, settle
from nodeagent.node import threads
from nodeagent.runtime import jsonfields
from nodeagent.runtime.interface import ExecConfig, Exit, Handle, SandboxConfig, StartError
from nodeagent.runtime.link import LauncherLink
from pinnace import labclock
from pinnace.clock import Clock

_STATE = {"pid", "pid_start", "monitor", "monitor_start", "started_at"}
_EXIT = {"code", "finished_at", "signal", "oom_killed"}
MONITOR_LOST = Exit(code=137, finished_at=0.0, signal=9, message="the container's monitor was killed")


class NativeRuntime:
    def __init__(self, folder: Path, clock: Clock) -> None:
        """`folder` is the launcher's (see LauncherLink)."""
        self._clock = clock
        self._link = LauncherLink(folder, labclock.steady(clock))

    @property
    def launcher(self) -> subprocess.Popen[bytes] | None:
        """The launcher, where this very object has started it: nobody else's child is its to reap."""
        return self._link.launcher

    async def warm(self) -> None:
        """Have the launcher up before the first pod needs it. Raises StartError."""
        await self._link.connected()

    async def close(self) -> None:
        """Let go of the launcher; it and the containers stay."""
        self._link.disconnect()

    # The Runtime protocol

    async def create_sandbox(self, config: SandboxConfig) -> None:
        config.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self._link.request({"op": "sandbox", **jsonfields.shallow(config), "folder": str(config.folder)})

    async def remove_sandbox(self, folder: Path) -> None:
        if folder.exists():
            await self._link.request({"op": "unpin", "folder": str(folder)})

    async def start(self, bundle: Path) -> Handle:
        return await self.launch(bundle, {})

    async def launch(self, bundle: Path, how: dict[str, Any]) -> Handle:
        """`start`, with what the launcher is to know besides: `oci`, to have an OCI runtime do it."""
        for path in (names.upper(bundle), names.work(bundle)):
            Path(path).mkdir(exist_ok=True, mode=0o755)
        try:
            state = await self._link.request({"op": "start", "bundle": str(bundle), **how})
        except StartError:
            # It may have begun all the same (the launcher was killed after the fork), and even ended.
            if await threads.runtime.run_within(threads.RUNTIME_WITHIN, self.recover, bundle) is None:
                raise
            state = _record(names.state(bundle)) or {}
        return self._handle(bundle, state)

    async def wait(self, handle: Handle) -> Exit:
        await ended(handle.monitor, handle.monitor_start)
        record = _record(names.exit_record(handle.bundle))
        if record is not None:
            return self._exit(record)
        # The monitor was killed. Its init goes with it, unless that took on an AppArmor profile (the kernel clears the
        # signal of the parent's death then) or is an OCI runtime's.
        kill(handle.pid, handle.pid_start)
        await ended(handle.pid, handle.pid_start)
        return Exit(code=137, finished_at=self._clock.now(), signal=9, message=MONITOR_LOST.message)

    def recover(self, bundle: Path) -> Handle | Exit | None:
        started = any(map(os.path.exists, (names.state(bundle), names.exit_record(bundle)))) or _cancel(bundle)
        if not started:
            return None
        record = _record(names.exit_record(bundle))
        if record is not None:
            return self._exit(record)
        state = _record(names.state(bundle))
        return self._handle(bundle, state) if state is not None else None

    def _handle(self, bundle: Path, state: dict[str, Any]) -> Handle:
        return Handle(bundle, **{key: state[key] for key in _STATE} | {"started_at": self._time(state["started_at"])})

    def _exit(self, record: dict[str, Any]) -> Exit:
        return Exit(record["code"], self._time(record["finished_at"]), record["signal"], record["oom_killed"])

    def _time(self, noted: float) -> float:
        """A monitor knows the machine's clock alone."""
        return labclock.converted(self._clock, noted)

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
        """Pack the file or directory at `path` to standard output, or with `unpack` put the tree that comes on standard
        input there; errors are written to standard error. Returns an exit code; cancelling ends it once its streams are
        closed. Links in `path` are followed inside the container, others never. Raises StartError."""
        return await self._help({"op": "copy", "bundle": str(handle.bundle), "path": path, "unpack": unpack}, stdio, None)

    async def _help(self, request: dict[str, Any], stdio: tuple[int, ...], terminal: Callable[[int], None] | None) -> int:
        """A helper of the launcher's, to its end; its exit code."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        # Closing ours ends the command and all that it started, also when we are killed.
        with ours:
            with theirs:
                await self._link.request(request, (*stdio, theirs.fileno()))
            if terminal is not None:
                terminal((await _message(ours))[1][0])
            return int((await _message(ours))[0] or b"137")


def _cancel(bundle: Path) -> bool:
    """Make sure that a start which was asked for but not begun never begins; True when it had begun."""
    try:
        file = open(names.config(bundle))
    except FileNotFoundError:
        return False
    with file:
        # A monitor holds this lock from before it looks for `cancelled` until its container runs.
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.exists(names.state(bundle)):
            return True
        Path(names.cancelled(bundle)).touch()
        return False


def _record(path: str) -> dict[str, Any] | None:
    """What a monitor left; None when it is not there, or torn by a power failure."""
    try:
        found: dict[str, Any] = json.loads(Path(path).read_text())
    except (FileNotFoundError, ValueError):
        return None
    needed = _EXIT if path.endswith(names.EXIT) else _STATE
    return found if isinstance(found, dict) and needed <= found.keys() else None


async def _message(channel: socket.socket) -> tuple[bytes, list[int]]:
    """One message of an exec's helper and its descriptors; empty when it was killed."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(channel, settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(channel)
    return terminals.receive(channel)
