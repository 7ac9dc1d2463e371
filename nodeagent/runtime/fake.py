"""A runtime without containers, for tests without root: programs run as plain processes of this one.

It keeps the interface's promises: the same files in the bundle, logs in the same form, one start a bundle. What it does not
keep is isolation. `World` is what outlives a runtime, as monitors outlive an agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nodeagent.launcher import bundle as names
from nodeagent.launcher.logfile import LogFile
from nodeagent.linux.procfs import start_time
from nodeagent.runtime.interface import ExecConfig, Exit, Handle, SandboxConfig, StartError
from pinnace import pki
from pinnace.clock import Clock

# Seconds between looks for the end of a program.
LOOK_EVERY = 0.01
_FIELDS = ("pid", "pid_start", "monitor", "monitor_start", "started_at")


class World:
    """The sandboxes and programs of one machine."""

    def __init__(self) -> None:
        self.sandboxes: set[Path] = set()
        self.monitors: dict[Path, threading.Thread] = {}


class FakeRuntime:
    def __init__(self, clock: Clock, world: World | None = None) -> None:
        self._clock = clock
        self._world = world or World()

    async def create_sandbox(self, config: SandboxConfig) -> None:
        self._world.sandboxes.add(config.folder)

    async def remove_sandbox(self, folder: Path) -> None:
        self._world.sandboxes.discard(folder)

    async def start(self, bundle: Path) -> Handle:
        config = json.loads(Path(names.config(bundle)).read_text())
        if Path(names.cancelled(bundle)).exists() or Path(names.state(bundle)).exists():
            raise StartError("the start was cancelled, or the container has been started already")
        if Path(config["sandbox"]) not in self._world.sandboxes:
            raise StartError(f"there is no sandbox {config['sandbox']}")
        program = _spawn(config)
        numbers = (program.pid, start_time(program.pid))
        state = dict(zip(_FIELDS, (*numbers, *numbers, self._clock.now()), strict=True))
        pki.write_private(Path(names.state(bundle)), json.dumps(state).encode())
        monitor = threading.Thread(target=self._tend, args=(bundle, config, program), daemon=True)
        self._world.monitors[bundle] = monitor
        monitor.start()
        return _handle(bundle, state)

    def _tend(self, bundle: Path, config: dict[str, Any], program: subprocess.Popen[bytes]) -> None:
        log = LogFile(config["log"], config["log_max_bytes"], config["log_max_files"])
        out, err = program.communicate()
        log.write(b"stdout", out)
        log.write(b"stderr", err)
        log.close()
        signal = max(0, -program.returncode)
        code = 128 + signal if signal else program.returncode
        record = {"code": code, "signal": signal, "oom_killed": False, "finished_at": self._clock.now()}
        pki.write_private(Path(names.exit_record(bundle)), json.dumps(record).encode())

    async def wait(self, handle: Handle) -> Exit:
        while not Path(names.exit_record(handle.bundle)).exists():
            await self._clock.sleep(LOOK_EVERY)
        return _exit(handle.bundle)

    def recover(self, bundle: Path) -> Handle | Exit | None:
        if Path(names.exit_record(bundle)).exists():
            return _exit(bundle)
        if Path(names.state(bundle)).exists():
            return _handle(bundle, json.loads(Path(names.state(bundle)).read_text()))
        with contextlib.suppress(FileNotFoundError):
            Path(names.cancelled(bundle)).touch()
        return None

    async def exec(
        self,
        handle: Handle,
        config: ExecConfig,
        stdio: tuple[int, int, int] | None,
        terminal: Callable[[int], None] | None = None,
    ) -> int:
        if Path(names.exit_record(handle.bundle)).exists():
            raise StartError("the container is not running")
        if stdio is None:
            raise StartError("the fake has no terminals")
        try:
            program = await asyncio.create_subprocess_exec(*config.args, stdin=stdio[0], stdout=stdio[1], stderr=stdio[2])
        except OSError as error:
            raise StartError(f'exec: "{config.args[0]}": {error.strerror}') from error
        code = await program.wait()
        return code if code >= 0 else 128 - code


def _spawn(config: dict[str, Any]) -> subprocess.Popen[bytes]:
    environment = dict(item.split("=", 1) for item in config["env"])
    try:
        return subprocess.Popen(
            config["args"], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise StartError(f'exec: "{config["args"][0]}": executable file not found in $PATH') from error
    except OSError as error:
        raise StartError(f'exec: "{config["args"][0]}": {error.strerror}') from error


def _handle(bundle: Path, state: dict[str, Any]) -> Handle:
    return Handle(bundle, **{name: state[name] for name in _FIELDS})


def _exit(bundle: Path) -> Exit:
    record = json.loads(Path(names.exit_record(bundle)).read_text())
    return Exit(record["code"], record["finished_at"], record["signal"], record["oom_killed"])
