"""What a build has on the node besides files, and removing it: processes, cgroup, namespaces, mounts, address.

The same for a build that has ended and for one whose agent was killed in the middle: nothing here trusts that any of it
is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nodeagent.building.cachemounts import CacheMounts
from nodeagent.building.downloads import Downloads
from nodeagent.building.limits import RunLimits
from nodeagent.linux import rmtree, syscalls
from nodeagent.network import sandboxaddress
from nodeagent.network.addresses import Ipam
from nodeagent.network.interface import Network, NetworkError
from nodeagent.node import threads
from nodeagent.pods.spec.resolver import ClusterDns
from nodeagent.runtime import bundles
from nodeagent.runtime.cgroups import Cgroups
from nodeagent.runtime.interface import Handle, Runtime, StartError
from pinnace.clock import Clock

log = logging.getLogger("pinnace.build")
# Seconds for killed processes to leave their cgroup.
GONE_WITHIN = 10.0
# Attempts to release its network, a second apart; then its address stays allocated until the agent restarts.
TRIES = 3
# Below a build: its sandbox, and that of RUN --network=none.
SANDBOX, ALONE = "sandbox", "alone"


@dataclass(frozen=True, slots=True)
class Node:
    """What a build needs of the node; `ipam` gives None until the control plane has assigned a pod CIDR. `run_limits` are
    the defaults of each RUN, `mounts` the cache mounts."""

    runtime: Runtime
    network: Network
    cgroups: Cgroups
    clock: Clock
    ipam: Callable[[], Ipam | None]
    seccomp_folder: Path
    # On a tmpfs; see `node.memorydir`.
    memory: Path
    dns: Callable[[], ClusterDns]
    run_limits: RunLimits
    mounts: CacheMounts
    downloads: Downloads


def configs_of(node: Node, directory: Path) -> Path:
    """Where the configurations of its containers are: a directory in memory."""
    return node.memory / "configs" / name_of(directory)


def name_of(directory: Path) -> str:
    """The build's name for network and cgroups."""
    return f"build-{directory.name}"


async def kill(node: Node, name: str) -> None:
    """End all processes of a build and remove its cgroup."""
    deadline = node.clock.monotonic() + GONE_WITHIN
    while True:
        node.cgroups.kill(name)
        if node.cgroups.remove(name):
            break
        if node.clock.monotonic() > deadline:
            log.warning("build_processes_left build=%s", name)
            break
        await node.clock.sleep(0.01)
    node.cgroups.prune()


async def ended(node: Node, handle: Handle) -> None:
    """Wait for the monitor of a container that was killed: nothing writes in its bundle afterwards."""
    try:
        async with asyncio.timeout(GONE_WITHIN):
            await node.runtime.wait(handle)
    except TimeoutError:
        log.warning("build_monitor_left bundle=%s", handle.bundle)


async def remove(node: Node, directory: Path) -> None:
    """All of a build that there is: processes, address, namespaces. Its files are the caller's."""
    name = name_of(directory)
    await kill(node, name)
    await _monitors_ended(node, directory)
    for _ in range(TRIES):
        try:
            sandboxes = (directory / SANDBOX, directory / ALONE)
            await sandboxaddress.release(node.network, node.runtime, node.ipam, name, *sandboxes)
            break
        except (NetworkError, StartError) as error:
            log.warning("build_release_failed build=%s error=%s", name, error)
            await node.clock.sleep(1.0)
    await threads.builds.run(bundles.forget_configs, configs_of(node, directory))


async def discard(directory: Path) -> None:
    """Delete a directory of a build. A failure is logged and does not hide why the build failed: the agent's next start
    deletes what is left."""
    try:
        await threads.builds.run(rmtree.remove, directory)
    except OSError as error:
        log.error("build_directory_not_deleted directory=%s error=%s", directory, error)


def unmount(directory: Path) -> None:
    """Detach all mounts below `directory`, which a builder that was killed has left. Raises OSError."""
    with open("/proc/self/mountinfo") as file:
        points = [line.split()[4] for line in file]
    for point in reversed(points):
        if point.startswith(f"{directory}/"):
            syscalls.umount(point, syscalls.MNT_DETACH)


async def _monitors_ended(node: Node, directory: Path) -> None:
    """A start that was asked for is cancelled or has ended, so that nothing is written below `directory` any more."""
    for path in directory.glob("*/config.json"):
        found = await threads.builds.run(node.runtime.recover, path.parent)
        if isinstance(found, Handle):
            await kill(node, name_of(directory))
            await ended(node, found)
