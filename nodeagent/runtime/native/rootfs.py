"""A container's view of the file system, made inside its own mount namespace, ending in pivot_root.

The order matters. Everything is opened by descriptor and resolved inside the new root (openat2 RESOLVE_IN_ROOT),
because the image's content is hostile: a symlink in it must lead nowhere but into itself. Mounts are attached to
descriptors (move_mount), so no path is looked up twice.
"""

from __future__ import annotations

import os
import stat

from nodeagent.runtime.native import syscalls as sc

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
# The OCI runtime-spec's example and containerd's defaults.
MASKED = (
    "asound", "acpi", "interrupts", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi",
    "sysrq-trigger",
)  # fmt: skip
MASKED_SYS = ("firmware", "devices/virtual/powercap")
READ_ONLY = ("bus", "fs", "irq", "sys")
_SAFE = sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


def build(config: dict[str, Any], bundle: str) -> None:
    """Mount everything and make the container's root the root of this process."""
    sc.mount("", "/", "", sc.MS_REC | sc.MS_PRIVATE)
    null = _verified_null()
    # Sources are resolved on the host's side before anything of the container is in the way.
    binds = [(_source(item), item) for item in config["mounts"]]
    shm = sc.open_tree(sc.AT_FDCWD, config["sandbox"] + "/shm")
    root_path = os.path.join(bundle, "rootfs")
    _overlay(config, bundle, root_path)
    root = os.open(root_path, _DIRECTORY | os.O_CLOEXEC)
    _proc(root, null)
    _dev(root, shm)
    _sys(root, config["hierarchies"])
    for source, item in binds:
        _bind(root, source, item)
    _mask_sys(root)
    if config["read_only_root"]:
        sc.mount_setattr(root, sc.MOUNT_ATTR_RDONLY)
    _pivot(root)


def _verified_null() -> int:
    """The host's /dev/null by descriptor, checked to be the device (CVE-2025-31133)."""
    fd = os.open("/dev/null", sc.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(1, 3):
        raise OSError("/dev/null of the host is not the null device")
    return fd


def _source(item: dict[str, Any]) -> int:
    return sc.open_tree(sc.AT_FDCWD, item["source"], recursive=True)


def _overlay(config: dict[str, Any], bundle: str, target: str) -> None:
    """An overlay of the image's layers and a writable one. `nodev`: device nodes in an image stay dead."""
    options = f"lowerdir={':'.join(config['layers'])},upperdir={bundle}/upper,workdir={bundle}/work"
    if len(options) >= 4095:
        raise OSError("the image has more layers than one overlay mount can name")
    sc.mount("overlay", target, "overlay", sc.MS_NODEV, options)


def _directory(root: int, path: str) -> int:
    """A descriptor of a folder below root, made when missing."""
    _make_parents(root, path)
    return sc.openat2(root, path, _DIRECTORY)


def _make_parents(root: int, path: str) -> None:
    """mkdir -p below root, one component at a time, each opened inside the root."""
    current = os.dup(root)
    done = ""
    try:
        for part in [part for part in path.split("/") if part]:
            done = f"{done}/{part}"
            try:
                following = sc.openat2(root, done, _DIRECTORY)
            except FileNotFoundError:
                os.mkdir(part, 0o755, dir_fd=current)
                following = sc.openat2(root, done, _DIRECTORY)
            os.close(current)
            current = following
    finally:
        os.close(current)


def _mount_at(root: int, path: str, fstype: str, flags: int, data: str = "") -> int:
    """Mount a fresh file system on a folder below root, by descriptor."""
    fd = _directory(root, path)
    sc.mount(fstype, f"/proc/self/fd/{fd}", fstype, flags, data)
    os.close(fd)
    return sc.openat2(root, path, _DIRECTORY)


def _proc(root: int, null: int) -> None:
    fd = _mount_at(root, "/proc", "proc", _SAFE)
    # A verified procfs: writes and masks below go to this descriptor, not to a path (CVE-2025-52881).
    if not os.path.islink(f"/proc/self/fd/{fd}/thread-self"):
        raise OSError("the container's /proc is not procfs")
    for name in MASKED:
        target = _lookup(fd, name)
        if target is None:
            continue
        if stat.S_ISDIR(os.fstat(target).st_mode):
            _mask_directory(target)
        else:
            sc.move_mount(sc.open_tree(null), target)
        os.close(target)
    for name in READ_ONLY:
        target = _lookup(fd, name)
        if target is not None:
            _read_only_copy(target)
            os.close(target)
    os.close(fd)


def _lookup(fd: int, name: str) -> int | None:
    try:
        return sc.openat2(fd, name, sc.O_PATH)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _mask_directory(target: int) -> None:
    path = f"/proc/self/fd/{target}"
    sc.mount("tmpfs", path, "tmpfs", sc.MS_RDONLY | _SAFE, "size=0,nr_inodes=1")


def _read_only_copy(target: int) -> None:
    tree = sc.open_tree(target, recursive=True)
    sc.mount_setattr(tree, sc.MOUNT_ATTR_RDONLY | sc.MOUNT_ATTR_NOSUID | sc.MOUNT_ATTR_NODEV, recursive=True)
    sc.move_mount(tree, target)
    os.close(tree)


def _dev(root: int, shm: int) -> None:
    """A fresh /dev: nothing of the image's is kept or followed (CVE-2026-41579)."""
    existing = os.path.join(f"/proc/self/fd/{root}", "dev")
    if os.path.islink(existing):
        os.unlink("dev", dir_fd=root)
    fd = _mount_at(root, "/dev", "tmpfs", sc.MS_NOSUID | sc.MS_NOEXEC, "mode=755,size=64k")
    for name, major, minor in DEVICES:
        os.mknod(name, 0o666 | stat.S_IFCHR, os.makedev(major, minor), dir_fd=fd)
        os.chmod(f"/proc/self/fd/{fd}/{name}", 0o666)
    os.close(_mount_at(fd, "pts", "devpts", sc.MS_NOSUID | sc.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"))
    os.close(_mount_at(fd, "mqueue", "mqueue", _SAFE))
    target = _directory(fd, "shm")
    sc.move_mount(shm, target)
    os.close(target)
    for link, destination in (
        ("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ):  # fmt: skip
        os.symlink(destination, link, dir_fd=fd)
    os.close(fd)


def _sys(root: int, hierarchies: list[str]) -> None:
    """sysfs of the pod's network namespace and its cgroups, all read-only."""
    os.close(_mount_at(root, "/sys", "sysfs", _SAFE | sc.MS_RDONLY))
    if hierarchies == ["cgroup2"]:
        os.close(_mount_at(root, "/sys/fs/cgroup", "cgroup2", _SAFE | sc.MS_RDONLY))
        return
    fd = _mount_at(root, "/sys/fs/cgroup", "tmpfs", _SAFE, "mode=755,size=16k")
    for name in hierarchies:
        fstype, options = ("cgroup2", "") if name == "cgroup2" else ("cgroup", name)
        os.close(_mount_at(fd, "unified" if name == "cgroup2" else name, fstype, _SAFE | sc.MS_RDONLY, options))
    sc.mount_setattr(fd, sc.MOUNT_ATTR_RDONLY)
    os.close(fd)


def _mask_sys(root: int) -> None:
    for name in MASKED_SYS:
        target = _lookup(root, "/sys/" + name)
        if target is not None:
            _mask_directory(target)
            os.close(target)


def _bind(root: int, tree: int, item: dict[str, Any]) -> None:
    """Attach a volume. The target is made inside the root as what the source is: a folder or a file."""
    directory = stat.S_ISDIR(os.fstat(tree).st_mode)
    target = _directory(root, item["target"]) if directory else _file(root, item["target"])
    attributes = sc.MOUNT_ATTR_NOSUID | sc.MOUNT_ATTR_NODEV | (sc.MOUNT_ATTR_RDONLY if item["read_only"] else 0)
    sc.mount_setattr(tree, attributes, recursive=True)
    sc.move_mount(tree, target)
    os.close(target)
    os.close(tree)


def _file(root: int, path: str) -> int:
    parent = path.rpartition("/")[0]
    _make_parents(root, parent)
    try:
        return sc.openat2(root, path, sc.O_PATH)
    except FileNotFoundError:
        os.close(sc.openat2(root, path, os.O_WRONLY | os.O_CREAT, mode=0o644))
        return sc.openat2(root, path, sc.O_PATH)


def _pivot(root: int) -> None:
    """pivot_root with the old root on top of itself, then detached: no folder for it is needed in the image."""
    os.fchdir(root)
    sc.pivot_root(".", ".")
    sc.umount(".", sc.MNT_DETACH)
    os.chdir("/")
    os.close(root)
