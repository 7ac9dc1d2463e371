"""A machine with a runtime on it, for tests of what every runtime promises: native, runc, crun and the fake."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nodeagent.linux.capabilities import DEFAULT
from nodeagent.linux.processes import open_process
from nodeagent.runtime import handlers, seccomp
from nodeagent.runtime.cgroups import Cgroups, Limits
from nodeagent.runtime.fake import FakeRuntime, World
from nodeagent.runtime.interface import ContainerConfig, Exit, Handle, SandboxConfig
from nodeagent.runtime.nativeruntime import NativeRuntime
from pinnace.clock import SystemClock
from tests.support import leftovers
from tests.support.labs import ROOT

DEADLINE = 60.0
REAL = ("native", "runc", "crun")
NAMES = itertools.count()


@dataclass
class Node:
    """A machine with a runtime on it; `restarted` is what a new agent has."""

    folder: Path
    handler: str
    make: Callable[[], Any]
    cgroups: Cgroups | None = None
    runtime: Any = None
    sandboxes: list[Path] = field(default_factory=list)
    natives: list[NativeRuntime] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runtime = self.make()

    async def restarted(self) -> Any:
        """Another runtime over the same machine."""
        self.runtime = self.make()
        return self.runtime

    async def sandbox(self, name: str = "pod", **more: Any) -> Path:
        config = SandboxConfig(self.folder / "pods" / name, name, **more)
        await self.runtime.create_sandbox(config)
        self.sandboxes.append(config.folder)
        return config.folder

    def bundle(self, *args: str, sandbox: Path | None = None, **more: Any) -> Path:
        """A container of the pod's, with everything that a plain pod gets."""
        folder = self.folder / "bundles" / str(next(NAMES))
        folder.mkdir(parents=True)
        values: dict[str, Any] = {
            "env": ("PATH=/bin:/usr/bin", "GREETING=hello"), "cwd": "/", "layers": (str(self.folder / "rootfs"),),
            "sandbox": str(sandbox or self.folder / "pods/pod"), "log": str(folder / "log"), **self._isolation(folder.name),
        }  # fmt: skip
        config = ContainerConfig(args, **{**values, **more})
        (folder / "config.json").write_text(json.dumps(asdict(config)))
        return folder

    def _isolation(self, name: str) -> dict[str, Any]:
        if self.cgroups is None:
            return {}
        filter_ = seccomp.compiled(self.folder / "seccomp", DEFAULT)
        return {
            "cgroups": self.cgroups.create(f"pod/{name}", Limits(memory_limit=64 << 20), leaf=True),
            "hierarchies": tuple(self.cgroups.hierarchies), "capabilities": DEFAULT, "seccomp": str(filter_),
        }  # fmt: skip

    def state(self) -> list[str]:
        """What the OCI runtime still knows of."""
        root = self.folder / "oci" / self.handler
        return sorted(os.listdir(root)) if root.exists() else []


def fake_node(folder: Path) -> Node:
    world = World()
    return Node(folder, "fake", lambda: FakeRuntime(SystemClock(), world))


def real_node(folder: Path, handler: str) -> Node:
    natives = []

    def make() -> Any:
        native = NativeRuntime(folder, SystemClock())
        natives.append(native)
        return handlers.configured(native, handlers.installed(), folder, folder / "memory").of(handler)

    subprocess.run([str(ROOT / "examples/busybox-image.sh"), str(folder / "rootfs")], check=True, timeout=DEADLINE)
    cgroups = Cgroups(leftovers.cgroup(next(NAMES)))
    cgroups.create("pod", Limits(pids=0), leaf=False)
    return Node(folder, handler, make, cgroups, natives=natives)


# Once in each run.
sweep = functools.cache(leftovers.sweep)


@asynccontextmanager
async def machine(handler: str) -> AsyncIterator[Node]:
    """A node that leaves nothing behind."""
    sweep()
    folder = leftovers.directory()
    made = fake_node(folder) if handler == "fake" else real_node(folder, handler)
    try:
        await made.sandbox()
        yield made
    finally:
        await clear(made)
        shutil.rmtree(folder)
    assert not [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line]


async def clear(node: Node) -> None:
    if node.cgroups is not None:
        node.cgroups.kill("pod")
    for path in (node.folder / "bundles").glob("*"):
        found = node.runtime.recover(path)
        if isinstance(found, Handle):
            kill(found)
            await node.runtime.wait(found)
    for sandbox in node.sandboxes:
        await node.runtime.remove_sandbox(sandbox)
    assert node.state() == []
    if node.cgroups is not None:
        for native in node.natives:
            await native.close()
            if native.launcher is not None:
                native.launcher.kill()
                native.launcher.wait()
        # What was killed may not be gone yet.
        for _ in range(200):
            if node.cgroups.remove("pod"):
                break
            await asyncio.sleep(0.02)
        node.cgroups.prune()
        assert node.cgroups.list() == set()


def kill(handle: Handle, number: int = signal.SIGKILL) -> None:
    descriptor = open_process(handle.pid, handle.pid_start)
    assert descriptor is not None
    signal.pidfd_send_signal(descriptor, number)
    os.close(descriptor)


def runs(handle: Handle) -> bool:
    """Whether the container's first process does: one that nobody has reaped yet does not."""
    try:
        fields = Path(f"/proc/{handle.pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return False
    return int(fields[19]) == handle.pid_start and fields[0] not in "ZX"


def catches(handle: Handle, number: int) -> bool:
    """Whether the container's program has a handler for a signal by now: what starts it, as runc's first process, has some too."""
    if not Path(f"/proc/{handle.pid}/cmdline").read_bytes().startswith(b"sh\0"):
        return False
    lines = Path(f"/proc/{handle.pid}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    return bool(mask >> (number - 1) & 1)


async def end(node: Node, handle: Handle) -> Exit:
    found: Exit = await asyncio.wait_for(node.runtime.wait(handle), DEADLINE)
    return found


async def run(node: Node, *args: str, **more: Any) -> tuple[Exit, list[str]]:
    """A container from start to end, and its output without times."""
    bundle = node.bundle(*args, **more)
    exit_ = await end(node, await node.runtime.start(bundle))
    lines = (bundle / "log").read_text().splitlines()
    return exit_, [line.split(" ", 1)[1] for line in lines]
