"""RUN: a container of the node's own runtime over the layers so far, whose writable layer is what the RUN made.

    builds/<id>/sandbox/      the build's network namespace, with an address on the node's bridge like a pod's
    builds/<id>/<step>/       a bundle; its `upper` becomes the layer

One sandbox serves all RUNs of a build. What the runtime needs in a root (mount points such as /etc/hosts) is made in a
layer of its own below the writable one, so that it never shows in what is built.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from nodeagent.images.build import copying, leftovers, view
from nodeagent.images.build.errors import BuildError
from nodeagent.images.build.leftovers import Node
from nodeagent.images.build.sources import Account
from nodeagent.network.seam import NetworkError
from nodeagent.pods.resolver import ClusterDns
from nodeagent.runtime import seccomp
from nodeagent.runtime.cgroups import Limits
from nodeagent.runtime.native.capabilities import DEFAULT
from nodeagent.runtime.seam import ContainerConfig, Exit, Handle, Mount, SandboxConfig, StartError
from nodeagent.runtime.seccomp import SeccompUnavailable
from nodeagent.streams import logs
from pinnace import pki
from pinnace.api.v1 import streams_pb2
from pinnace.clock import Clock

Say = Callable[[bytes], Awaitable[None]]
HOSTNAME = "build"
# What the runtime mounts; folders end with a slash.
MOUNT_POINTS = ("/proc/", "/sys/", "/dev/", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname")
# Processes of a RUN; its weight for the cpu is the least, so that pods come first.
MAX_PIDS = 4096
# A RUN's output goes to the client as fast as it reads; what it leaves behind by more than this is lost to it.
LOG_BYTES, LOG_FILES = 64 << 20, 2


@dataclass(frozen=True, slots=True)
class Process:
    """`layers` are folders from the top down; `deadline` is in seconds."""

    argv: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    who: Account
    layers: tuple[str, ...]
    deadline: float


class Runner:
    """The RUNs of one build; `close` takes all of it away, also after a failure in the middle."""

    def __init__(self, node: Node, folder: Path) -> None:
        self._node = node
        self._folder = folder
        self.name = leftovers.name_of(folder)
        self._has_sandbox = False

    async def run(self, process: Process, bundle: Path, say: Say) -> Exit:
        """Run it to its end; what it wrote is in `bundle`/upper. Raises BuildError."""
        try:
            await self._sandbox()
            handle = await self._start(process, bundle)
        except (StartError, NetworkError, SeccompUnavailable, OSError) as error:
            raise BuildError(f"it could not be started: {error}") from error
        try:
            return await self._follow(handle, bundle / "log", process.deadline, say)
        finally:
            await self._kill()

    async def _sandbox(self) -> None:
        if self._has_sandbox:
            return
        # Said before: what is half made is taken away like the whole.
        self._has_sandbox = True
        node, sandbox = self._node, self._folder / "sandbox"
        ipam = node.ipam()
        if ipam is None:
            raise NetworkError("the node has no pod range yet: its agent has not reached the control plane")
        await node.runtime.create_sandbox(SandboxConfig(sandbox, HOSTNAME))
        address = ipam.allocate(self.name)
        await node.network.attach(self.name, sandbox / "ns/net", address)
        self._write_etc(address)

    def _write_etc(self, address: str) -> None:
        hosts = f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{address}\t{HOSTNAME}\n"
        for name, text in (("hosts", hosts), ("resolv.conf", _resolv(self._node.dns)), ("hostname", f"{HOSTNAME}\n")):
            path = self._folder / name
            path.write_text(text)
            os.chmod(path, 0o644)

    async def _start(self, process: Process, bundle: Path) -> Handle:
        cgroups = self._node.cgroups
        bundle.mkdir(parents=True, exist_ok=True, mode=0o700)
        stubs = await asyncio.to_thread(_mount_points, process.layers, bundle / "stubs")
        config = ContainerConfig(
            args=process.argv,
            env=process.env,
            cwd=process.cwd,
            layers=(stubs, *process.layers),
            sandbox=str(self._folder / "sandbox"),
            log=str(bundle / "log"),
            user=process.who.uid,
            group=process.who.gid,
            groups=process.who.groups,
            mounts=tuple(Mount(str(self._folder / name), f"/etc/{name}") for name in ("hosts", "resolv.conf", "hostname")),
            cgroups=cgroups.create(f"{self.name}/run", Limits(pids=MAX_PIDS), leaf=True),
            hierarchies=tuple(cgroups.hierarchies),
            capabilities=DEFAULT,
            seccomp=str(seccomp.compiled(self._node.seccomp_folder, DEFAULT)),
            # The first to go when the node runs out of memory: a build can be repeated.
            oom_score_adj=1000,
            log_max_bytes=LOG_BYTES,
            log_max_files=LOG_FILES,
        )
        # It may hold secrets (build arguments).
        pki.write_private(bundle / "config.json", json.dumps(asdict(config)).encode())
        return await self._node.runtime.start(bundle)

    async def _follow(self, handle: Handle, path: Path, deadline: float, say: Say) -> Exit:
        """Its output to `say` until it has ended and all has been said."""
        ended = asyncio.Event()
        waiter = asyncio.ensure_future(self._ended(handle, ended, deadline))
        options = streams_pb2.LogOptions(follow=True)
        try:
            async for chunk in logs.read(path, options, _Hurried(self._node.clock, ended), ended.is_set):
                await say(chunk)
            return await waiter
        finally:
            waiter.cancel()

    async def _ended(self, handle: Handle, ended: asyncio.Event, deadline: float) -> Exit:
        try:
            async with asyncio.timeout(deadline):
                return await self._node.runtime.wait(handle)
        except TimeoutError:
            raise BuildError(f"it did not end within {deadline:.0f} s") from None
        finally:
            ended.set()

    async def _kill(self) -> None:
        await leftovers.kill(self._node, self.name)

    async def close(self) -> None:
        await leftovers.take_away(self._node, self._folder)


class _Hurried:
    """A clock whose sleeper wakes when the container has ended, so that a short RUN is not slowed by a reader's pause."""

    def __init__(self, clock: Clock, ended: asyncio.Event) -> None:
        self._clock = clock
        self._ended = ended

    def now(self) -> float:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        sleeper = asyncio.ensure_future(self._clock.sleep(seconds))
        waiter = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({sleeper, waiter}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            waiter.cancel()


def _resolv(dns: ClusterDns) -> str:
    """As a pod has it, but for the names of a namespace."""
    if dns.servers:
        return f"search svc.{dns.domain} {dns.domain}\n" + "".join(f"nameserver {server}\n" for server in dns.servers)
    try:
        return dns.resolv_conf.read_text(errors="replace")
    except OSError:
        return ""


def _mount_points(layers: tuple[str, ...], folder: Path) -> str:
    """A layer that has what the runtime would otherwise make in the writable one. Returns its folder."""
    with view.merged(layers, folder) as root:
        for path in MOUNT_POINTS:
            # Changed times would show in every layer that touches the folder.
            parent = copying.make_folder(root, os.path.dirname(path.rstrip("/")))
            try:
                _make_point(root, parent, path)
            finally:
                os.close(parent)
    return str(folder / "upper")


def _make_point(root: int, parent: int, path: str) -> None:
    name = os.path.basename(path.rstrip("/"))
    try:
        os.lstat(name, dir_fd=parent)
    except FileNotFoundError:
        before = os.fstat(parent)
        if path.endswith("/"):
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent))
        os.utime(f"/proc/self/fd/{parent}", ns=(before.st_atime_ns, before.st_mtime_ns))
