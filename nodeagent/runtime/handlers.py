"""Which runtime a pod's containers run by: the handler that its RuntimeClass names, among those that this node has."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nodeagent.runtime.interface import Exit, Handle, Runtime, SandboxConfig, StartError
from nodeagent.runtime.nativeruntime import NativeRuntime
from nodeagent.runtime.oci.runtime import OciRuntime

NATIVE = "native"
# OCI runtimes that are registered by themselves where they are installed.
KNOWN = ("runc", "crun")
_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HANDLER = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z", re.ASCII)


class Runtimes:
    """The node's runtimes by handler; `native` is always among them."""

    def __init__(self, runtimes: Mapping[str, Runtime]) -> None:
        self._runtimes = dict(runtimes)

    @property
    def handlers(self) -> tuple[str, ...]:
        return tuple(sorted(self._runtimes))

    def of(self, handler: str) -> Runtime:
        """For a handler that is not configured: a runtime that refuses to start anything, and looks after what runs."""
        return self._runtimes.get(handler) or _Unconfigured(handler, self._runtimes[NATIVE])


class _Unconfigured:
    """Stands for a runtime that the agent was started with before and no longer is."""

    def __init__(self, handler: str, native: Runtime) -> None:
        self._handler = handler
        self._native = native

    async def create_sandbox(self, config: SandboxConfig) -> None:
        raise StartError(f'no runtime for "{self._handler}" is configured')

    async def remove_sandbox(self, folder: Path) -> None:
        await self._native.remove_sandbox(folder)

    async def start(self, bundle: Path) -> Handle:
        raise StartError(f'no runtime for "{self._handler}" is configured')

    async def wait(self, handle: Handle) -> Exit:
        return await self._native.wait(handle)

    def recover(self, bundle: Path) -> Handle | Exit | None:
        return self._native.recover(bundle)


def configured(native: NativeRuntime, binaries: Mapping[str, Path], state: Path, memory: Path) -> Runtimes:
    """The native runtime and one for each OCI binary. `state` is the agent's directory on disk, `memory` the one in memory."""
    oci = {handler: OciRuntime(native, binary, _root(handler, state, memory)) for handler, binary in binaries.items()}
    return Runtimes({NATIVE: native, **oci})


def _root(handler: str, state: Path, memory: Path) -> Path:
    """Where a runtime keeps its state: in memory, for crun writes the container's environment there. Containers of a version
    before 0.2 are still on the disk; their runtime moves at the first start of the agent that finds none."""
    disk = state / "oci" / handler
    return disk if disk.is_dir() and any(disk.iterdir()) else memory / "oci" / handler


def installed() -> dict[str, Path]:
    """Those of KNOWN that this machine has."""
    return {name: Path(path) for name in KNOWN if (path := shutil.which(name, path=_SEARCH))}


def binary(text: str) -> tuple[str, Path]:
    """A handler and its program, from NAME=PATH. Raises ValueError."""
    name, _, path = text.partition("=")
    if not _HANDLER.match(name) or name == NATIVE:
        raise ValueError(f'"{name}" is not a name for an OCI runtime\'s handler')
    if not os.path.isabs(path) or not os.access(path, os.X_OK) or os.path.isdir(path):
        raise ValueError(f'"{path}" is not the absolute path of a program')
    return name, Path(path)


def handler_of(pod: Any, lookup: Callable[[str, str, str], Any | None]) -> str:
    """The handler of the class that a pod names. Raises StartError when the class is not there."""
    name = pod.spec.runtimeClassName
    if not name:
        return NATIVE
    found = lookup("RuntimeClass", "", name)
    if found is None:
        raise StartError(f'RuntimeClass "{name}" not found')
    return str(found.handler)
