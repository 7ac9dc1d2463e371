"""How this host describes itself as a Node: capacity, addresses, system information."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterable
from pathlib import Path

from nodeagent.eviction.signals import max_processes
from nodeagent.node.resources import PIDS, NodeResources
from nodeagent.runtime.handlers import NATIVE
from pinnace import __version__, quantity
from pinnace.core.v1 import node_pb2
from pinnace.podresources import CPU, MEMORY, STORAGE, Amounts
from pinnace.wellknown import LABEL_ARCH, LABEL_HOSTNAME, LABEL_OS

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def describe(name: str, addresses: Iterable[str], state: Path, resources: NodeResources) -> node_pb2.Node:
    """The node as it is while nothing is wrong with it: conditions are reported apart."""
    node = node_pb2.Node()
    arch = ARCHITECTURES.get(platform.machine(), platform.machine())
    node.metadata.name = name
    node.metadata.labels.update({LABEL_HOSTNAME: name, LABEL_OS: "linux", LABEL_ARCH: arch})
    has = machine(state)
    for field, amounts in (
        (node.status.capacity, resources.capacity_of(has)),
        (node.status.allocatable, resources.allocatable(has)),
    ):
        field["cpu"].string = quantity.format_milli(amounts[CPU])
        field["memory"].string = f"{amounts[MEMORY] >> 10}Ki"
        field["ephemeral-storage"].string = f"{amounts[STORAGE] >> 10}Ki"
        field["pods"].string = str(resources.max_pods)
    set_addresses(node.status, name, addresses)
    info = node.status.nodeInfo
    info.machineID = _first_line("/etc/machine-id")
    info.bootID = _first_line("/proc/sys/kernel/random/boot_id")
    info.kernelVersion, info.operatingSystem, info.architecture = platform.release(), "linux", arch
    info.osImage = _os_name()
    info.containerRuntimeVersion = f"pinnace://{__version__}"
    info.kubeletVersion = f"v{__version__}"
    return node


def set_addresses(status: node_pb2.NodeStatus, name: str, addresses: Iterable[str]) -> None:
    """The underlay's first."""
    del status.addresses[:]
    for address in addresses:
        status.addresses.add(type="InternalIP", address=address)
    status.addresses.add(type="Hostname", address=name)


def add_handlers(node: node_pb2.Node, handlers: Iterable[str]) -> None:
    """Which runtimes a RuntimeClass can name here; the empty name is what a pod without a class gets: the native one."""
    for name in ("", *handlers):
        node.status.runtimeHandlers.add(name=name).features.userNamespaces = name in ("", NATIVE)


def machine(state: Path) -> Amounts:
    """What this machine has, by resource; `state` lies on the disk that pods write to."""
    cores = os.cpu_count() or 1
    amounts = {CPU: cores * 1000, MEMORY: memory_total(), STORAGE: shutil.disk_usage(state).total}
    return amounts | {PIDS: max_processes()}


def memory_total() -> int:
    """Bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
