"""How this host describes itself as a Node: capacity, addresses, system information."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from pathlib import Path

from pinnace import __version__
from pinnace.core.v1 import node_pb2

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Of memory, kept for the system and the agent itself; of pods, what one /24 comfortably holds.
RESERVED_MEMORY = 256 << 20
MAX_PODS = 110


def describe(name: str, address: str, state: Path) -> node_pb2.Node:
    node = node_pb2.Node()
    arch = ARCHITECTURES.get(platform.machine(), platform.machine())
    node.metadata.name = name
    node.metadata.labels.update({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": arch})
    memory, disk = memory_total(), shutil.disk_usage(state).total
    for field, reserved in ((node.status.capacity, 0), (node.status.allocatable, RESERVED_MEMORY)):
        field["cpu"].string = str(os.cpu_count() or 1)
        field["memory"].string = f"{(memory - reserved) >> 10}Ki"
        field["ephemeral-storage"].string = f"{disk >> 10}Ki"
        field["pods"].string = str(MAX_PODS)
    node.status.addresses.add(type="InternalIP", address=address)
    node.status.addresses.add(type="Hostname", address=name)
    info = node.status.nodeInfo
    info.machineID = _first_line("/etc/machine-id")
    info.bootID = _first_line("/proc/sys/kernel/random/boot_id")
    info.kernelVersion, info.operatingSystem, info.architecture = platform.release(), "linux", arch
    info.osImage = _os_name()
    info.containerRuntimeVersion = f"pinnace://{__version__}"
    info.kubeletVersion = f"v{__version__}"
    return node


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


def address_towards(server: str) -> str:
    """This host's address on the way to `server` (host:port). Sends nothing. Raises OSError."""
    host, _, port = server.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, int(port)))
        return str(probe.getsockname()[0])
