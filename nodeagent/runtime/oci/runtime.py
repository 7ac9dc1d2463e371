"""The agent's side of OCI runtimes: bundles as the native runtime has them, started by runc or crun.

What is not the start is the native runtime's: the sandbox, the monitor with log and exit, exec (which enters the
namespaces of any container by pidfd and takes on the same configuration). When a monitor is killed, the container is not:
whoever sees that ends it, for its output goes nowhere and its end would be missed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nodeagent.launcher import bundle as names
from nodeagent.launcher import init
from nodeagent.launcher.oci import DELETE_WITHIN, ENVIRONMENT
from nodeagent.node import threads
from nodeagent.runtime import bundles
from nodeagent.runtime.interface import ExecConfig, Exit, Handle, RuntimeLost, SandboxConfig
from nodeagent.runtime.nativeruntime import NativeRuntime
from nodeagent.runtime.oci import filters
from nodeagent.runtime.oci.spec import Layout, refuse, spec

log = logging.getLogger("pinnace.oci")
# Below /dev, but the container's own.
_OWN_DEVICES = ("pts", "shm", "mqueue", "fd", "stdin", "stdout", "stderr", "console", "ptmx", "core")
MAX_DEVICES = 4096


class OciRuntime:
    def __init__(self, native: NativeRuntime, binary: Path, root: Path) -> None:
        """`root` is the folder of the runtime's own state, one for each node and binary."""
        self._native = native
        self._binary = binary
        self._root = root

    async def create_sandbox(self, config: SandboxConfig) -> None:
        await self._native.create_sandbox(config)

    async def remove_sandbox(self, folder: Path) -> None:
        await self._native.remove_sandbox(folder)

    async def start(self, bundle: Path) -> Handle:
        config = json.loads(Path(names.config(bundle)).read_text())
        refuse(config)
        await threads.runtime.run_within(threads.RUNTIME_WITHIN, self._write, bundle, config)
        how = {"binary": str(self._binary), "root": str(self._root), "id": _id(bundle)}
        try:
            return await self._native.launch(bundle, {"oci": how})
        except RuntimeLost:
            if (self._root / _id(bundle)).exists():
                # Its monitor was killed before it could; the next start of this bundle has the same name.
                await threads.runtime.run(self._forget, bundle)
            raise

    def _write(self, bundle: Path, config: dict[str, Any]) -> None:
        folder = Path(names.oci(bundle))
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "mounts").mkdir(parents=True, mode=0o700)
        (folder / "rootfs").mkdir(mode=0o700)
        layout = Layout(
            rootfs=str(folder / "rootfs"), mounts=str(folder / "mounts"), pid_namespace=str(folder / "pid-namespace"),
            cgroup=_below_mount(config["cgroups"][0]) if config["cgroups"] else "",
        )  # fmt: skip
        made = spec(
            config, layout, seccomp=filters.profile(config), rlimits=init.rlimits(),
            devices=_host_devices() if config["privileged"] else [],
        )  # fmt: skip
        bundles.write_oci_config(bundle, made)

    async def wait(self, handle: Handle) -> Exit:
        end = await self._native.wait(handle)
        if not os.path.exists(names.exit_record(handle.bundle)):
            await threads.runtime.run(self._forget, handle.bundle)
        return end

    def recover(self, bundle: Path) -> Handle | Exit | None:
        found = self._native.recover(bundle)
        if not isinstance(found, Handle) and (self._root / _id(bundle)).exists():
            # Its monitor was killed before it could.
            self._forget(bundle)
        return found

    def _forget(self, bundle: Path) -> None:
        """Have the runtime end and forget a container that has no monitor."""
        command = [str(self._binary), "--root", str(self._root), "delete", "--force", _id(bundle)]
        try:
            subprocess.run(
                command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, timeout=DELETE_WITHIN, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            log.warning("delete_failed runtime=%s bundle=%s error=%s", self._binary, bundle, error)

    async def exec(
        self,
        handle: Handle,
        config: ExecConfig,
        stdio: tuple[int, int, int] | None,
        terminal: Callable[[int], None] | None = None,
    ) -> int:
        return await self._native.exec(handle, config, stdio, terminal)


def _id(bundle: Path) -> str:
    """The container's name in the runtime's state: the same for a bundle always, and no other bundle's."""
    return hashlib.sha256(str(bundle).encode()).hexdigest()[:32]


def _below_mount(folder: str) -> str:
    """A cgroup's path from the root of its hierarchy."""
    point = os.path.realpath(folder)
    while not os.path.ismount(point):
        point = os.path.dirname(point)
    return "/" + os.path.relpath(os.path.realpath(folder), point)


def _host_devices() -> list[dict[str, Any]]:
    """All device nodes of the host, as the OCI configuration lists them."""
    found: list[dict[str, Any]] = []
    for base, folders, files in os.walk("/dev"):
        if base == "/dev":
            folders[:] = [name for name in folders if name not in _OWN_DEVICES]
            files = [name for name in files if name not in _OWN_DEVICES]
        for name in files:
            path = os.path.join(base, name)
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue
            kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
            if kind and len(found) < MAX_DEVICES:
                found.append(
                    {
                        "path": path, "type": kind, "major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev),
                        "fileMode": stat.S_IMODE(status.st_mode), "uid": status.st_uid, "gid": status.st_gid,
                    }
                )  # fmt: skip
    return found
