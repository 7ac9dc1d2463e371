"""Small files, read and written whole, by descriptor.

What `open` does besides (a stat, an ioctl, two seeks, three objects on pages that are copied for them) costs a container's
start more than the reading. Only for files that are ours or the kernel's: these follow symlinks.
"""

from __future__ import annotations

import json
import os

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_CHUNK = 16 << 10


def read(path: str) -> bytes:
    """Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while chunk := os.read(fd, _CHUNK):
            data += chunk
        return data
    finally:
        os.close(fd)


def write(path: str, data: bytes) -> None:
    """Into a file that is there, in one write, as the kernel's files want it. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def save(path: str, value: Mapping[str, object]) -> None:
    """A record that is whole or absent, while the machine is up. Not for longer: what it names ends with the machine, and a
    start or an end that waits for the disk takes a tenth longer. The agent keeps what must be kept. Raises OSError."""
    temporary = f"{path}.new"
    view = memoryview(json.dumps(value).encode())
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)
    os.replace(temporary, path)
