"""Several layers as one tree, for a moment: an overlay that is mounted, opened, and detached at once.

The descriptor keeps the mount alive and nothing else does, so a builder that is killed leaves none behind.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nodeagent.images.build.errors import BuildError
from nodeagent.runtime.native import syscalls

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# The kernel takes one page of mount options.
_MAX_OPTIONS = 4095


@contextmanager
def merged(layers: Sequence[str], folder: Path) -> Iterator[int]:
    """A descriptor of the root of `layers` (folders, from the top down). What is written goes to `folder`/upper.

    Raises BuildError, OSError.
    """
    upper, work, target = (folder / name for name in ("upper", "work", "rootfs"))
    for path in (upper, work, target):
        path.mkdir(parents=True, exist_ok=True, mode=0o755)
    root = _mounted(layers, upper, work, target) if layers else os.open(upper, _DIRECTORY)
    try:
        yield root
    finally:
        os.close(root)


def _mounted(layers: Sequence[str], upper: Path, work: Path, target: Path) -> int:
    opened: list[int] = []
    try:
        for layer in layers:
            opened.append(os.open(layer, _DIRECTORY))
        # By descriptor, for the kernel takes one page of options and paths are long. Without redirects a renamed folder
        # is copied, as a layer must have it.
        lower = ":".join(f"/proc/self/fd/{descriptor}" for descriptor in opened)
        options = f"lowerdir={lower},upperdir={upper},workdir={work},redirect_dir=off"
        if len(options) > _MAX_OPTIONS:
            raise BuildError(f"{len(layers)} layers are more than one overlay mount can name: join some RUN instructions")
        syscalls.mount("overlay", target, "overlay", syscalls.MS_NODEV | syscalls.MS_NOSUID, options)
    finally:
        for descriptor in opened:
            os.close(descriptor)
    try:
        return os.open(target, _DIRECTORY)
    finally:
        syscalls.umount(target, syscalls.MNT_DETACH)


def read_file(root: int, path: str, limit: int = 1 << 20) -> bytes:
    """A small file below a root, links resolved inside of it; empty when there is none."""
    try:
        with os.fdopen(syscalls.openat2(root, path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            return file.read(limit)
    except OSError:
        return b""
