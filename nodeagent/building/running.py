"""RUN: a container of the node's own runtime over the layers so far, whose writable layer is what the RUN made.

    builds/<id>/sandbox/      the build's network namespace, with an address on the node's bridge like a pod's
    builds/<id>/alone/        the namespaces of RUN --network=none, with nothing but a loopback
    builds/<id>/<step>/       a bundle; its `upper` becomes the layer

One sandbox serves all RUNs of a build. Mount points that a root lacks (such as /etc/hosts, or a target of --mount) are
made in a layer of its own below the writable one, so that they never show in what is built.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nodeagent.building import copying, leftovers, view
from nodeagent.building.errors import BuildError
from nodeagent.building.leftovers import Node
from nodeagent.building.limits import RunLimits
from nodeagent.building.progress import Say
from nodeagent.building.sources import Account
from nodeagent.launcher import bundle as names
from nodeagent.linux.capabilities import DEFAULT
from nodeagent.network import sandboxaddress
from nodeagent.network.interface import NetworkError
from nodeagent.node import threads
from nodeagent.pods.spec.resolver import ClusterDns
from nodeagent.pods.spec.security import APPARMOR_DEFAULT
from nodeagent.runtime import apparmor, bundles, logreader, seccomp
from nodeagent.runtime.cgroups import Limits
from nodeagent.runtime.interface import ContainerConfig, Exit, Handle, Mount, SandboxConfig, StartError
from nodeagent.runtime.seccomp import SeccompUnavailable
from pinnace.api.v1 import streams_pb2
from pinnace.clock import Clock

HOSTNAME = "build"
ETC = ("hosts", "resolv.conf", "hostname")
# What the runtime mounts; directories end with a slash.
MOUNT_POINTS = ("/proc/", "/sys/", "/dev/", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname")
# Processes of a RUN; its weight for the CPU is the least, so that pods come first.
MAX_PIDS = 4096
# A RUN's output is sent to the client as fast as it reads; what is left behind by more than this is lost to it.
LOG_BYTES, LOG_FILES = 64 << 20, 2


@dataclass(frozen=True, slots=True)
class Process:
    """`layers` are directories from the top down; `network` False: only a loopback."""

    argv: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    account: Account
    layers: tuple[str, ...]
    limits: RunLimits
    mounts: tuple[Mount, ...] = ()
    network: bool = True


class Runner:
    """The RUNs of one build; `close` removes all that they have on the node, also after a failure in the middle."""

    def __init__(self, node: Node, directory: Path) -> None:
        self._node = node
        self._directory = directory
        self.name = leftovers.name_of(directory)
        self._has_sandbox = False

    async def run(self, process: Process, bundle: Path, say: Say) -> Exit:
        """Run it to its end; what it wrote is in `bundle`/upper. Raises BuildError."""
        try:
            sandbox = await (self._sandbox() if process.network else self._alone())
            handle = await self._start(process, bundle, sandbox)
        except (StartError, NetworkError, SeccompUnavailable, OSError) as error:
            raise BuildError(f"it could not be started: {error}") from error
        try:
            return await self._follow(handle, bundle / "log", process.limits.deadline, say)
        finally:
            await self._kill()
            # Until its monitor has ended, it writes in the bundle, which the caller removes.
            await leftovers.ended(self._node, handle)

    async def _sandbox(self) -> Path:
        node, sandbox = self._node, self._directory / leftovers.SANDBOX
        if self._has_sandbox:
            return sandbox
        # Said before: what is half made is removed like the whole.
        self._has_sandbox = True
        await node.runtime.create_sandbox(SandboxConfig(sandbox, HOSTNAME))
        addresses = sandboxaddress.allocate(node.ipam, self.name)
        await node.network.attach(self.name, Path(names.namespace(sandbox, "net")), addresses)
        self._write_etc("", *addresses)
        return sandbox

    async def _alone(self) -> Path:
        """The sandbox of RUNs without a network."""
        sandbox = self._directory / leftovers.ALONE
        await self._node.runtime.create_sandbox(SandboxConfig(sandbox, HOSTNAME))
        self._write_etc("alone-", "127.0.1.1")
        return sandbox

    def _write_etc(self, prefix: str, *addresses: str) -> None:
        hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        hosts += "".join(f"{address}\t{HOSTNAME}\n" for address in addresses)
        resolv = "" if prefix else _resolv(self._node.dns())
        for name, text in (("hosts", hosts), ("resolv.conf", resolv), ("hostname", f"{HOSTNAME}\n")):
            path = self._directory / f"{prefix}{name}"
            path.write_text(text)
            os.chmod(path, 0o644)

    async def _start(self, process: Process, bundle: Path, sandbox: Path) -> Handle:
        bundle.mkdir(parents=True, exist_ok=True, mode=0o700)
        points = [*MOUNT_POINTS, *(_point(mount) for mount in process.mounts)]
        stubs = await threads.builds.run(_mount_points, process.layers, bundle / "stubs", points)
        prefix = "" if process.network else "alone-"
        etc = tuple(Mount(str(self._directory / f"{prefix}{name}"), f"/etc/{name}") for name in ETC)
        cgroups = self._node.cgroups
        config = ContainerConfig(
            args=process.argv,
            env=process.env,
            cwd=process.cwd,
            layers=(stubs, *process.layers),
            sandbox=str(sandbox),
            log=str(bundle / "log"),
            user=process.account.uid,
            group=process.account.gid,
            groups=process.account.groups,
            mounts=(*etc, *process.mounts),
            cgroups=cgroups.create(f"{self.name}/run", self._limits(process.limits), leaf=True),
            hierarchies=tuple(cgroups.hierarchies),
            capabilities=DEFAULT,
            seccomp=str(seccomp.compiled(self._node.seccomp_folder, DEFAULT)),
            apparmor=APPARMOR_DEFAULT if APPARMOR_DEFAULT in (apparmor.loaded() or ()) else "",
            # The first to be killed when the node runs out of memory: a build can be repeated.
            oom_score_adj=1000,
            log_max_bytes=LOG_BYTES,
            log_max_files=LOG_FILES,
        )
        bundles.write_config(bundle, config, leftovers.configs_of(self._node, self._directory))
        return await self._node.runtime.start(bundle)

    def _limits(self, wanted: RunLimits) -> Limits:
        default = self._node.run_limits
        return Limits(pids=MAX_PIDS, memory_limit=wanted.memory or default.memory, cpu_limit=wanted.cpu or default.cpu)

    async def _follow(self, handle: Handle, path: Path, deadline: float, say: Say) -> Exit:
        """Its output to `say` until it has ended and all has been sent."""
        ended = asyncio.Event()
        waiter = asyncio.ensure_future(self._ended(handle, ended, deadline))
        options = streams_pb2.LogOptions(follow=True)
        try:
            async for chunk in logreader.read(path, options, _Hurried(self._node.clock, ended), ended.is_set):
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
        await leftovers.remove(self._node, self._directory)


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
        await self._clock.wait(self._ended, seconds)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        return await self._clock.wait(event, seconds)


def _resolv(dns: ClusterDns) -> str:
    """As a pod has it, but for the names of a namespace."""
    if dns.servers:
        return f"search svc.{dns.domain} {dns.domain}\n" + "".join(f"nameserver {server}\n" for server in dns.servers)
    try:
        return dns.resolv_conf.read_text(errors="replace")
    except OSError:
        return ""


def _point(mount: Mount) -> str:
    """The target, with a slash at its end for a directory."""
    directory = mount.sub_path or os.path.isdir(mount.source)
    return f"{mount.target}/" if directory else mount.target


def _mount_points(layers: tuple[str, ...], directory: Path, points: Iterable[str]) -> str:
    """A layer that has what the runtime would otherwise make in the writable one. Returns its directory."""
    with view.merged(layers, directory) as root:
        for path in points:
            if path.startswith("/dev/") and path != "/dev/":
                # A file system of the container's own.
                continue
            # Changed times would show in every layer that touches the directory.
            parent = copying.make_directory(root, os.path.dirname(path.rstrip("/")))
            try:
                _make_point(root, parent, path)
            finally:
                os.close(parent)
    return names.upper(directory)


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
