"""What a build has on the node besides files, and taking it away: processes, cgroup, namespaces, address.

The same for a build that has ended and for one whose agent was killed in the middle: nothing here trusts that any of it
is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nodeagent.network.ipam import Ipam
from nodeagent.network.seam import Network, NetworkError
from nodeagent.pods.resolver import ClusterDns
from nodeagent.runtime.cgroups import Cgroups
from nodeagent.runtime.native import syscalls
from nodeagent.runtime.seam import Handle, Runtime, StartError
from pinnace.clock import Clock

log = logging.getLogger("pinnace.build")
# Seconds for killed processes to leave their cgroup.
GONE_WITHIN = 10.0


@dataclass(frozen=True, slots=True)
class Node:
    """What a RUN needs of the node; `ipam` is None until the control plane has said which range is the node's."""

    runtime: Runtime
    network: Network
    cgroups: Cgroups
    clock: Clock
    ipam: Callable[[], Ipam | None]
    seccomp_folder: Path
    dns: ClusterDns


def name_of(folder: Path) -> str:
    """The build's name for network and cgroups."""
    return f"build-{folder.name}"


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


async def take_away(node: Node, folder: Path) -> None:
    """Everything of a build, whatever of it there is: processes, address, namespaces, mounts. Its files are the caller's."""
    name = name_of(folder)
    await kill(node, name)
    await _monitors_ended(node, folder)
    try:
        await node.network.detach(name)
        await node.runtime.remove_sandbox(folder / "sandbox")
    except (NetworkError, StartError) as error:
        log.warning("build_release_failed build=%s error=%s", name, error)
    ipam = node.ipam()
    if ipam is not None:
        ipam.release(name)


def unmount(folder: Path) -> None:
    """Detach whatever is mounted below `folder`: a view whose builder was killed in the very moment. Raises OSError."""
    with open("/proc/self/mountinfo") as file:
        points = [line.split()[4] for line in file]
    for point in reversed(points):
        if point.startswith(f"{folder}/"):
            syscalls.umount(point, syscalls.MNT_DETACH)


async def _monitors_ended(node: Node, folder: Path) -> None:
    """A start that was asked for is cancelled or has ended, so that nothing is written below `folder` any more."""
    for path in folder.glob("*/config.json"):
        found = await asyncio.to_thread(node.runtime.recover, path.parent)
        if isinstance(found, Handle):
            await kill(node, name_of(folder))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GONE_WITHIN):
                    await node.runtime.wait(found)
