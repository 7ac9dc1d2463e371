"""A container's /dev: a fresh tmpfs in which nothing of the image's is kept or followed (CVE-2026-41579)."""

from __future__ import annotations

import os
import stat

from nodeagent.linux import syscalls as sc
from nodeagent.linux.tree import Tree

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from nodeagent.launcher.protocol import Config

DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
_LINKS = (
    ("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)  # fmt: skip
_SAFE = sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC
# Of the host's /dev, a privileged container gets all but what it has of its own.
_OWN = frozenset(("pts", "shm", "mqueue", "ptmx", "console", "fd", "hugepages"))
# The group `tty`, by which terminals are writable.
_TTY = 5


def build(root: Tree, config: Config, shm: int) -> None:
    """Mount /dev, and `shm` in it."""
    first = root.owner
    owner = f",uid={first},gid={first}" if first else ""
    dev = root.mount("/dev", "tmpfs", sc.MS_NOSUID | sc.MS_NOEXEC, f"mode=755,size=64k{owner}")
    for name, major, minor in DEVICES:
        _node(dev.fd, name, 0o666 | stat.S_IFCHR, os.makedev(major, minor), (first, first))
    if config["privileged"]:
        _host_devices("/dev", dev.fd)
    terminals = f"newinstance,ptmxmode=0666,mode=0620,gid={first + _TTY}" + (f",uid={first}" if first else "")
    dev.mount_fresh("pts", "devpts", sc.MS_NOSUID | sc.MS_NOEXEC, terminals)
    dev.mount_fresh("mqueue", "mqueue", _SAFE)
    target = dev.directory("shm")
    sc.move_mount(shm, target)
    os.close(target)
    for link, destination in _LINKS:
        os.symlink(destination, link, dir_fd=dev.fd)
    dev.close()


def _node(folder: int, name: str, mode: int, device: int, owner: tuple[int, int]) -> None:
    # The umask is 0 here (see rootfs). The folder is on a tmpfs of ours, so a name in it is what we made.
    os.mknod(name, mode, device, dir_fd=folder)
    if owner != (0, 0):
        os.chown(name, *owner, dir_fd=folder)


def _host_devices(source: str, folder: int) -> None:
    """The host's device nodes, with their modes and owners, as containerd gives them to privileged containers."""
    for entry in os.scandir(source):
        if entry.name in _OWN or entry.is_symlink():
            continue
        status = entry.stat(follow_symlinks=False)
        if entry.is_dir():
            os.mkdir(entry.name, 0o755, dir_fd=folder)
            below = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
            _host_devices(entry.path, below)
            os.close(below)
        elif (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)) and entry.name not in _names():
            _node(folder, entry.name, status.st_mode, status.st_rdev, (status.st_uid, status.st_gid))


def _names() -> tuple[str, ...]:
    return tuple(name for name, _, _ in DEVICES)
