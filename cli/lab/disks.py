"""A disk of each node's own: a file with an ext4 file system, mounted where the node has its state (`lab up --disk-size`).

The file is sparse and the file system discards what it frees, so a disk costs what is in it. To fill one reserves blocks and
writes none: the machine's disk does not fill. Without --disk-size nodes share the machine's disk, and none can be filled.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path

from cli.lab import hosts
from cli.lab.layout import Lab
from pinnace.errors import BadRequest, Internal

SMALLEST, LARGEST = 64 << 20, 1 << 40
UNMOUNTED_WITHIN = 10.0
# Reserves what is left of a node's disk.
BALLAST = ".filled"


def check(lab: Lab) -> None:
    """Raises BadRequest unless each node has a disk of its own."""
    if not lab.disk_size:
        raise BadRequest(
            f'the nodes of lab "{lab.name}" share this machine\'s disk, which is not to be filled: '
            "make a lab with `kctl lab up --disk-size 2Gi`"
        )


def check_size(size: int, nodes: int, directory: Path) -> None:
    """Raises BadRequest unless that many disks fit on the machine's."""
    if not SMALLEST <= size <= LARGEST:
        raise BadRequest("--disk-size must be between 64Mi and 1Ti")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = os.statvfs(directory)
    if size * nodes > found.f_bavail * found.f_frsize:
        free = found.f_bavail * found.f_frsize >> 20
        raise BadRequest(f"{nodes} disks of {size >> 20}Mi do not fit on this machine's, which has {free}Mi free")


def mount(lab: Lab, node: str) -> None:
    """Make and mount the disk of a node, as far as it is not. Before the node's mount namespace. Raises Internal."""
    directory = lab.node_dir(node)
    if not lab.disk_size or os.path.ismount(directory):
        return
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not lab.disk(node).exists():
        _make(lab, node)
    hosts.command(["mount", "-t", "ext4", "-o", "loop,discard", str(lab.disk(node)), str(directory)])
    directory.chmod(0o700)


def _make(lab: Lab, node: str) -> None:
    path = lab.disk(node)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Under its name once it is whole.
    begun = path.with_suffix(".new")
    begun.unlink(missing_ok=True)
    with open(os.open(begun, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.truncate(lab.disk_size)
    # No blocks for root alone: the agent is root, and its disk is to be full at the same time as its pods'.
    hosts.command(["mkfs.ext4", "-q", "-F", "-m", "0", str(begun)])
    begun.rename(path)


def unmount(lab: Lab, node: str = "") -> None:
    """Of one node, or of all; by what is mounted, so also of a lab whose record is lost. Raises Internal."""
    below = str(lab.node_dir(node)) if node else f"{lab.state_dir}/nodes/"
    deadline = time.monotonic() + UNMOUNTED_WITHIN
    while mounted := [path for path in _mounts() if path == below or (not node and path.startswith(below))]:
        for path in reversed(mounted):
            try:
                hosts.command(["umount", path])
            except Internal:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
    # The last mount was that of a node's mount namespace, which the kernel takes apart in its own time.
    while not node and loops(lab) and time.monotonic() < deadline:
        time.sleep(0.05)


def _mounts() -> list[str]:
    return [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]


def remove(lab: Lab, node: str) -> None:
    unmount(lab, node)
    lab.disk(node).unlink(missing_ok=True)


def fill(lab: Lab, node: str) -> None:
    """Leave nothing free. Raises Internal."""
    path = lab.node_dir(node) / BALLAST
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        found = os.statvfs(lab.node_dir(node))
        step, size = found.f_bavail * found.f_frsize, os.fstat(descriptor).st_size
        while step >= found.f_frsize:
            try:
                os.posix_fallocate(descriptor, size, step)
                size += step
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise Internal(f"{path}: {error.strerror}") from None
                step //= 2
    finally:
        os.close(descriptor)


def free(lab: Lab, node: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        (lab.node_dir(node) / BALLAST).unlink()


def loops(lab: Lab) -> list[str]:
    """Loop devices of the lab's disks. The kernel takes one away with the last mount of it."""
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            if path.read_text().strip().startswith(f"{lab.state_dir}/disks/"):
                found.append(f"/dev/{path.parts[3]}")
    return found
