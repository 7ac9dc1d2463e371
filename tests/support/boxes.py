"""Containers without a cluster: bundles made by hand and started by one of the node's runtimes, for tests of isolation."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from nodeagent.linux.capabilities import DEFAULT
from nodeagent.runtime import handlers, seccomp
from nodeagent.runtime.cgroups import Cgroups, Limits
from nodeagent.runtime.interface import ContainerConfig, ExecConfig, Handle, SandboxConfig
from nodeagent.runtime.nativeruntime import NativeRuntime
from pinnace.clock import SystemClock
from tests.support.labs import PATIENCE

ROOT = Path(__file__).resolve().parent.parent.parent
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEADLINE = 30.0 * PATIENCE


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


class Boxes:
    """`run(...)` runs a command in a container of its own in `sandbox`, and returns what it printed."""

    def __init__(self, folder: Path, name: str, handler: str = handlers.NATIVE) -> None:
        self.folder = folder
        self.native = NativeRuntime(folder, SystemClock())
        # Any: of a handler, with the optional exec.
        self.runtime: Any = handlers.configured(self.native, handlers.installed(), folder, folder / "memory").of(handler)
        self.cgroups = Cgroups(name)
        self.image = folder / "image"
        self._numbers = itertools.count()
        self._sandboxes: list[Path] = []

    def add_layer(self, **files: str) -> Path:
        """A folder to put on top of the image's; the caller fills it further."""
        layer = self.folder / f"layer{next(self._numbers)}"
        layer.mkdir(mode=0o755)
        for name, text in files.items():
            (layer / name).write_text(text)
        return layer

    async def sandbox(self, **more: Any) -> SandboxConfig:
        number = next(self._numbers)
        if more.get("shared_pid"):
            more |= {"cgroups": self.cgroups.create(f"pod/s{number}", Limits(), leaf=True)}
        config = SandboxConfig(self.folder / f"s{number}", "box", **more)
        self._sandboxes.append(config.folder)
        await self.runtime.create_sandbox(config)
        return config

    def bundle(self, sandbox: SandboxConfig, *args: str, **more: Any) -> Path:
        """A bundle with the settings of an ordinary container, changed by `more` (fields of ContainerConfig)."""
        number = next(self._numbers)
        bundle = self.folder / f"b{number}"
        bundle.mkdir(mode=0o700)
        capabilities = tuple(more.get("capabilities", DEFAULT))
        config = ContainerConfig(
            args=args, env=(PATH, "HOME=/root"), cwd="/", layers=(str(self.image),), sandbox=str(sandbox.folder),
            log=str(bundle / "log"), cgroups=self.cgroups.create(f"pod/c{number}", Limits(), leaf=True),
            hierarchies=tuple(self.cgroups.hierarchies), capabilities=capabilities, ids=sandbox.ids,
            host_network=sandbox.host_network, host_ipc=sandbox.host_ipc,
            seccomp=str(seccomp.compiled(self.folder / "seccomp", capabilities)),
        )  # fmt: skip
        (bundle / "config.json").write_text(json.dumps(asdict(replace(config, **more))))
        return bundle

    async def start(self, sandbox: SandboxConfig, *args: str, **more: Any) -> Handle:
        return await self.runtime.start(self.bundle(sandbox, *args, **more))

    async def run(self, sandbox: SandboxConfig, *args: str, **more: Any) -> Ran:
        handle = await self.start(sandbox, *args, **more)
        return await self.ended(handle)

    async def ended(self, handle: Handle) -> Ran:
        found = await asyncio.wait_for(self.runtime.wait(handle), DEADLINE)
        return Ran(found.code, log(handle, "stdout"), log(handle, "stderr"))

    async def shell(self, sandbox: SandboxConfig, script: str, **more: Any) -> str:
        """What a shell script prints; it must succeed."""
        ran = await self.run(sandbox, "sh", "-c", script, **more)
        assert ran.code == 0, ran
        return ran.out

    async def exec(self, handle: Handle, *args: str) -> Ran:
        with tempfile.TemporaryFile() as out, open(os.devnull) as null:
            code = await self.runtime.exec(handle, ExecConfig(args), (null.fileno(), out.fileno(), out.fileno()), None)
            out.seek(0)
            return Ran(code, out.read().decode(), "")

    async def close(self) -> None:
        self.cgroups.kill("pod")
        # Their monitors write to the bundles until they end.
        for state in self.folder.glob("b*/state.json"):
            found = self.runtime.recover(state.parent)
            if isinstance(found, Handle):
                await asyncio.wait_for(self.runtime.wait(found), DEADLINE)
        for folder in self._sandboxes:
            await self.runtime.remove_sandbox(folder)
        await self.native.close()
        launcher = self.native.launcher
        if launcher is not None:
            launcher.kill()
            launcher.wait()
        for _ in range(100):
            if self.cgroups.remove("pod"):
                break
            await asyncio.sleep(0.02)
        self.cgroups.prune()
        mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{self.folder}/" in line]
        assert not mounts, mounts


def log(handle: Handle, stream: str) -> str:
    """What a container wrote to one of its streams, from its log."""
    kept = []
    for line in (handle.bundle / "log").read_text(errors="replace").splitlines():
        _, name, tag, text = [*line.split(" ", 3), ""][:4]
        if name == stream:
            kept.append(text + ("\n" if tag == "F" else ""))
    return "".join(kept)


@cache
def compiled(name: str) -> bytes:
    """tests/support/NAME.c as a program that needs no library."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["gcc", "-static", "-O1", "-o", f"{folder}/{name}", str(ROOT / f"tests/support/{name}.c")]
        subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE)
        return Path(folder, name).read_bytes()


def program_layer(box: Boxes, name: str) -> Path:
    """A layer with /bin/NAME, compiled from tests/support/NAME.c."""
    layer = box.add_layer()
    (layer / "bin").mkdir()
    (layer / "bin" / name).write_bytes(compiled(name))
    (layer / "bin" / name).chmod(0o755)
    return layer


def busybox(folder: Path) -> None:
    subprocess.run([str(ROOT / "examples/busybox-image.sh"), str(folder)], check=True, timeout=DEADLINE)


@asynccontextmanager
async def boxes(name: str = "t-box", handler: str = handlers.NATIVE) -> AsyncIterator[Boxes]:
    """A runtime of its own with busybox as the image; everything is gone at the end."""
    # A short path: the launcher's Unix socket lies in it. Mode 755: containers in user namespaces pass through it.
    folder = Path(tempfile.mkdtemp(prefix="box-", dir="/tmp"))
    found = Boxes(folder, f"{name}-{os.getpid()}", handler)
    busybox(found.image)
    try:
        yield found
    finally:
        await found.close()
        shutil.rmtree(folder)
