"""Several layers as one tree, for a moment: an overlay that is mounted, opened, and detached at once.

The descriptor keeps the mount alive and nothing else does, so a builder that is killed leaves none behind. What a RUN
mounts needs a path while it starts: that overlay stays attached until then, and `leftovers` detaches what was left.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nodeagent.building.errors import BuildError
from nodeagent.launcher import bundle as names
from nodeagent.linux import syscalls

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# The kernel takes one page of mount options.
_MAX_OPTIONS = 4095


@contextmanager
def merged(layers: Sequence[str], directory: Path) -> Iterator[int]:
    """A descriptor of the root of `layers` (directories, from the top down). What is written goes to `directory`/upper.

    Raises BuildError, OSError.
    """
    made = _made(directory)
    root = _mounted(layers, *made) if layers else os.open(made[0], _DIRECTORY)
    try:
        yield root
    finally:
        os.close(root)


@contextmanager
def attached(layers: Sequence[str], directory: Path) -> Iterator[Path]:
    """As `merged`, by a path below `directory`; it is detached afterwards. Raises BuildError, OSError."""
    upper, work, target = _made(directory)
    if not layers:
        yield upper
        return
    _mount(layers, upper, work, target)
    try:
        yield target
    finally:
        syscalls.umount(target, syscalls.MNT_DETACH)


def _made(directory: Path) -> tuple[Path, Path, Path]:
    upper, work, target = (directory / name for name in (names.UPPER, names.WORK, "rootfs"))
    for path in (upper, work, target):
        path.mkdir(parents=True, exist_ok=True, mode=0o755)
        # Whatever the umask: it is the mode of the tree's root.
        path.chmod(0o755)
    return upper, work, target


def _mounted(layers: Sequence[str], upper: Path, work: Path, target: Path) -> int:
    _mount(layers, upper, work, target)
    try:
        return os.open(target, _DIRECTORY)
    finally:
        syscalls.umount(target, syscalls.MNT_DETACH)


def _mount(layers: Sequence[str], upper: Path, work: Path, target: Path) -> None:
    opened: list[int] = []
    try:
        for layer in layers:
            opened.append(os.open(layer, _DIRECTORY))
        # By descriptor, for the kernel takes one page of options and paths are long. Without redirects a renamed directory
        # is copied, as a layer must have it.
        lower = ":".join(f"/proc/self/fd/{descriptor}" for descriptor in opened)
        options = f"lowerdir={lower},upperdir={upper},workdir={work},redirect_dir=off"
        if len(options) > _MAX_OPTIONS:
            raise BuildError(f"{len(layers)} layers are more than one overlay mount can name: join some RUN instructions")
        syscalls.mount("overlay", target, "overlay", syscalls.MS_NODEV | syscalls.MS_NOSUID, options)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def read_file(root: int, path: str, limit: int = 1 << 20) -> bytes:
    """A small file below a root, links resolved inside of it; empty when there is none."""
    try:
        with os.fdopen(syscalls.openat2(root, path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            return file.read(limit)
    except OSError:
        return b""
