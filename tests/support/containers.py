"""Containers of the native runtime without an agent: for tests of what lies below pods."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nodeagent.linux.capabilities import DEFAULT
from nodeagent.runtime.cgroups import Cgroups, Limits
from nodeagent.runtime.interface import ContainerConfig, Handle, SandboxConfig
from nodeagent.runtime.nativeruntime import NativeRuntime
from pinnace.clock import SystemClock
from tests.support.labs import ROOT


class Host:
    """A runtime and its launcher in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = NativeRuntime(folder, SystemClock())
        self.cgroups = Cgroups(f"t-pinnace-{os.getpid()}")
        self._count = 0

    async def start(self, *command: str, **config: Any) -> Handle:
        """A container that runs `command` on busybox, alone in a sandbox."""
        self._count += 1
        bundle = self.folder / f"c{self._count}"
        sandbox = self.folder / f"s{self._count}"
        bundle.mkdir()
        await self.runtime.create_sandbox(SandboxConfig(sandbox, "host"))
        value = ContainerConfig(
            args=command, env=("PATH=/bin", "HOME=/root"), cwd="/", layers=(str(self.folder / "rootfs"),), sandbox=str(sandbox),
            log=str(bundle / "log"), cgroups=self.cgroups.create(f"pod/c{self._count}", Limits(), leaf=True),
            hierarchies=tuple(self.cgroups.hierarchies), capabilities=DEFAULT, **config,
        )  # fmt: skip
        (bundle / "config.json").write_text(json.dumps(asdict(value)))
        return await self.runtime.start(bundle)

    def processes(self, handle: Handle) -> int:
        """How many run in the container's cgroup, and in those below it."""
        folder = self.cgroups.folders(f"pod/{handle.bundle.name}")[-1]
        return sum(len((Path(base) / "cgroup.procs").read_text().split()) for base, _, _ in os.walk(folder))

    async def close(self) -> None:
        self.cgroups.kill("pod")
        for number in range(1, self._count + 1):
            await self.runtime.remove_sandbox(self.folder / f"s{number}")
        await self.runtime.close()
        launcher = self.runtime.launcher
        assert launcher is not None
        launcher.terminate()
        launcher.wait(10)
        # What was killed is a moment in dying.
        async with asyncio.timeout(20):
            while not self.cgroups.remove("pod"):
                self.cgroups.kill("pod")
                await asyncio.sleep(0.02)
        self.cgroups.prune()
        left = [folder for folder in self.cgroups.folders("") if os.path.exists(folder)]
        assert not left, left


@asynccontextmanager
async def host(folder: Path) -> AsyncIterator[Host]:
    subprocess.run([str(ROOT / "examples/busybox-image.sh"), str(folder / "rootfs")], check=True, timeout=60)
    found = Host(folder)
    try:
        yield found
    finally:
        await found.close()
