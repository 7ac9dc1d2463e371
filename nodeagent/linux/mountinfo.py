"""The mounts of this process, and which of them must answer for a path: found without asking any that may not.

Source: proc(5), mountinfo.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# How mountinfo writes spaces and the like.
_OCTAL = re.compile(rb"\\([0-7]{3})")
# File systems that answer by themselves: on this machine's disks, or in its memory.
_LOCAL = frozenset(
    {
        "bcachefs", "btrfs", "cgroup", "cgroup2", "devtmpfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "iso9660",
        "overlay", "ramfs", "squashfs", "sysfs", "tmpfs", "vfat", "xfs", "zfs",
    }
)  # fmt: skip
# Those of a server, which answers for all that it exports, or for none of it.
_SERVERS = frozenset({"nfs", "nfs4", "cifs", "smb3"})
# As the kernel follows them (path_resolution(7)).
_MAX_LINKS = 40


@dataclass(frozen=True, slots=True)
class Mount:
    """`device`: major and minor number; `source`: what is mounted, such as a server and its export."""

    point: str
    device: str
    type: str
    source: str

    @property
    def answers(self) -> str:
        """Who answers for it, "" for the machine itself."""
        if self.type in _LOCAL:
            return ""
        if self.type in _SERVERS:
            return "server " + self.source.lstrip("/").replace("/", ":").partition(":")[0]
        return f"{self.type} {self.device}"


def mounts() -> list[Mount]:
    """In the order in which they were mounted; a later one at the same point hides the earlier."""
    found = []
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        fields = [os.fsdecode(_OCTAL.sub(lambda match: bytes([int(match[1], 8)]), field)) for field in line.split(b" ")]
        end = fields.index("-", 6)
        found.append(Mount(fields[4], fields[2], fields[end + 1], fields[end + 2]))
    return found


def answering(path: str, mounted: Iterable[Mount]) -> str:
    """Who must answer for an absolute path, "" for the machine's own disks and memory.

    Links are followed there, and nothing else is asked: where the path leaves them, the answer is known."""
    by_point = {mount.point: mount for mount in mounted}
    here, links, left = "/", 0, path.split("/")[::-1]
    while left:
        name = left.pop()
        here = os.path.normpath(os.path.join(here, name))
        if here in by_point and by_point[here].answers and here != "/":
            return by_point[here].answers
        target = _target(here) if name not in ("", ".", "..") else ""
        if target and links < _MAX_LINKS:
            links += 1
            here = os.path.dirname(here)
            left += [*target.split("/")[::-1], *(["/"] if target.startswith("/") else [])]
    return ""


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
