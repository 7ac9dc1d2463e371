"""A container's volumes: resolved on the host's side, prepared while detached, attached inside the root.

Sources are opened before anything of the container is in the way. A sub path is hostile like an image: another container
of the pod may be exchanging it for a symlink right now (CVE-2017-1002101, CVE-2021-25741), so it is resolved once, by
descriptor, never out of the volume, and what was opened is what is mounted.
"""

from __future__ import annotations

import os
import stat

from nodeagent.linux import syscalls as sc
from nodeagent.linux.tree import DIRECTORY, Tree

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from nodeagent.launcher.protocol import Mount

_PROPAGATION = {"None": sc.MS_PRIVATE, "HostToContainer": sc.MS_SLAVE, "Bidirectional": sc.MS_SHARED}
# Symlinks inside the volume are followed as in kubelet; absolute ones and those that climb out are refused.
_SUB_PATH = sc.RESOLVE_BENEATH | sc.RESOLVE_NO_MAGICLINKS
# Files of /proc that programs like lxcfs stand in for; nothing else may be mounted there (runc's list).
_PROC_FILES = ("cpuinfo", "diskstats", "loadavg", "meminfo", "net/dev", "slabinfo", "stat", "swaps", "uptime")


def source(item: Mount, userns: int, *, privileged: bool) -> int:
    """A detached copy of a volume's mount, with every attribute set before anyone can reach it. Raises OSError.

    `userns` is the descriptor of the container's user namespace, -1 for none."""
    propagation = item["propagation"]
    base = os.open(item["source"], sc.O_PATH | os.O_CLOEXEC)
    fd = _sub_path(base, item) if item["sub_path"] else base
    if propagation == "Bidirectional" and not _shared(fd):
        raise OSError(f"{item['source']} is not on a shared mount, which mountPropagation Bidirectional needs")
    # As in Kubernetes, mounts below the source come along.
    tree = sc.open_tree(fd, recursive=True)
    for used in {base, fd}:
        os.close(used)
    sc.mount_setattr(tree, 0, propagation=_PROPAGATION[propagation], recursive=True)
    if not privileged:
        sc.mount_setattr(tree, sc.MOUNT_ATTR_NOSUID | sc.MOUNT_ATTR_NODEV, recursive=True)
    if item["read_only"]:
        sc.mount_setattr(tree, sc.MOUNT_ATTR_RDONLY, recursive=item["recursive_read_only"])
    if userns >= 0 and item["idmap"]:
        idmap(tree, userns, item["source"])
    return tree


def idmap(tree: int, userns: int, path: str) -> None:
    """Show the ids on disk as those inside the user namespace. Raises OSError where the file system cannot."""
    try:
        sc.mount_setattr(tree, sc.MOUNT_ATTR_IDMAP, userns=userns, recursive=True)
    except OSError as error:
        raise OSError(f"the file system of {path} has no id-mapped mounts, which hostUsers: false needs ({error})") from None


def _sub_path(base: int, item: Mount) -> int:
    parts = [part for part in item["sub_path"].split("/") if part not in ("", ".")]
    if ".." in parts:
        raise OSError(f"subPath {item['sub_path']} contains '..'")
    try:
        return _resolve(base, parts)
    except FileNotFoundError:
        _make_sub_path(base, parts)
        return _resolve(base, parts)
    except OSError as error:
        raise OSError(f"subPath {item['sub_path']} leads out of its volume ({os.strerror(error.errno or 0)})") from None


def _resolve(base: int, parts: list[str]) -> int:
    return sc.openat2(base, "/".join(parts) or ".", sc.O_PATH, resolve=_SUB_PATH)


def _make_sub_path(base: int, parts: list[str]) -> None:
    """The missing folders, with the mode of the volume's root whatever the umask (as kubelet's SafeMakeDir)."""
    mode = stat.S_IMODE(os.fstat(base).st_mode)
    for depth in range(len(parts)):
        try:
            os.close(_resolve(base, parts[: depth + 1]))
        except FileNotFoundError:
            parent = sc.openat2(base, "/".join(parts[:depth]) or ".", DIRECTORY, resolve=_SUB_PATH)
            os.mkdir(parts[depth], 0o700, dir_fd=parent)
            # The new folder itself, not what may have taken its name.
            made = sc.openat2(parent, parts[depth], DIRECTORY, resolve=_SUB_PATH | sc.RESOLVE_NO_SYMLINKS)
            os.fchmod(made, mode)
            os.close(made)
            os.close(parent)


def _shared(fd: int) -> bool:
    """Whether the mount that a descriptor lies on has peers (mountinfo's `shared:N`)."""
    with open(f"/proc/self/fdinfo/{fd}") as file:
        number = next(line.split()[1] for line in file if line.startswith("mnt_id:"))
    with open("/proc/self/mountinfo") as file:
        return any(line.split()[0] == number and " shared:" in line.partition(" - ")[0] for line in file)


def attach(root: Tree, tree: int, path: str, proc: int) -> None:
    """Attach a volume. The target is made inside the root as what the source is: a directory or a file. Raises OSError."""
    directory = stat.S_ISDIR(os.fstat(tree).st_mode)
    try:
        target = root.directory(path) if directory else root.file(path)
        # By where it led: a symlink of the image's into /proc must not have masks replaced, or be written in our name
        # (CVE-2025-52881, CVE-2019-16884).
        if os.fstat(target).st_dev == proc and os.path.normpath(path).removeprefix("/proc/") not in _PROC_FILES:
            raise OSError(f"{path} lies on /proc, where nothing may be mounted")
        sc.move_mount(tree, target)
    except OSError as error:
        if error.errno is None:
            raise
        kind = "directory" if directory else "file"
        raise OSError(error.errno, f"cannot mount a {kind} on {path}: {os.strerror(error.errno).lower()}") from None
    os.close(target)
    os.close(tree)
