"""A container's view of the file system, made inside its own mount namespace, ending in pivot_root.

The order matters: sources first, while the host's paths mean what the host says; then the image, over which everything
else is laid by descriptor (see `tree`); masks after the file systems they hide in; the root last.
"""

from __future__ import annotations

import os
import stat

from nodeagent.launcher import binds, devfs
from nodeagent.launcher import bundle as bundles
from nodeagent.linux import syscalls as sc
from nodeagent.linux.tree import DIRECTORY, Tree

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from nodeagent.launcher.protocol import Config

# The OCI runtime-spec's example and containerd's defaults. A masked file is the null device, which takes what is written to
# it: what is there to be written to is read-only instead.
MASKED = (
    "asound", "acpi", "interrupts", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi",
)  # fmt: skip
_CPUS = "/sys/devices/system/cpu"
MASKED_SYS = (
    "firmware", "devices/virtual/powercap",
    *(f"devices/system/cpu/{name}/thermal_throttle" for name in os.listdir(_CPUS)
      if os.path.isdir(f"{_CPUS}/{name}/thermal_throttle")),
)  # fmt: skip
READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_SAFE = sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC


def build(config: Config, bundle: str, userns: int, procfs: int) -> None:
    """Mount everything and make the container's root the root of this process.

    `userns` is the descriptor of the user namespace that it will enter, -1 for none; `procfs` is a detached mount of it,
    -1 for that of this process's pid namespace. Raises OSError."""
    null = _verified_null()
    # Every mode below is what it says; the program gets a umask of its own.
    os.umask(0)
    first = config["ids"]["first"] if config["ids"] is not None else 0
    # Before the mounts of this namespace let go of the host's: a copy keeps the propagation it was made with.
    sources = [(item["target"], binds.source(item, userns, privileged=config["privileged"])) for item in config["mounts"]]
    shm = sc.open_tree(sc.AT_FDCWD, "/dev/shm" if config["host_ipc"] else bundles.shm(config["sandbox"]))
    # Not private: what the host mounts later still reaches the volumes that ask for it.
    sc.mount("", "/", "", sc.MS_REC | sc.MS_SLAVE)
    # Over the sandbox's folder, of which nothing is needed any more: to make one for each container costs more than to mount.
    overlay(config, bundle, config["sandbox"], userns)
    root = Tree(os.open(config["sandbox"], DIRECTORY | os.O_CLOEXEC), first)
    _no_symlinks(root.fd)
    open_all = config["privileged"] or not config["masked"]
    proc = _proc(root, null, procfs, masked=not open_all)
    devfs.build(root, config, shm)
    _sys(root, config["hierarchies"], writable=config["privileged"])
    for target, tree in sources:
        binds.attach(root, tree, target, proc)
    if not open_all:
        _mask_sys(root)
    if config["read_only_root"]:
        sc.mount_setattr(root.fd, sc.MOUNT_ATTR_RDONLY)
    os.close(null)
    _pivot(root.fd)


def _no_symlinks(root: int) -> None:
    """Where an image has a symlink in place of a folder of ours, the symlink goes (CVE-2019-19921, CVE-2026-41579)."""
    for name in ("dev", "proc", "sys"):
        if os.path.islink(f"/proc/self/fd/{root}/{name}"):
            os.unlink(name, dir_fd=root)


def _verified_null() -> int:
    """The host's /dev/null by descriptor, checked to be the device (CVE-2025-31133)."""
    fd = os.open("/dev/null", sc.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(1, 3):
        raise OSError("/dev/null of the host is not the null device")
    return fd


def overlay(config: Config, bundle: str, target: str, userns: int) -> None:
    """An overlay of the image's layers and a writable one. `nodev`: device nodes in an image stay dead. `volatile`: its end
    does not sync the file system that it writes to, for the writable layer ends with the container."""
    layers = config["layers"]
    if userns >= 0:
        # Files of the image are root's on disk; through these they are the container's root's, and nothing is changed.
        layers = _mapped(layers, target, userns)
        if (ids := config["ids"]) is not None:
            os.chown(bundles.upper(bundle), ids["first"], ids["first"])
    # The kernel takes one page of options: relative to the folder of the image's layers, a hundred names fit.
    base = os.path.dirname(layers[0])
    os.chdir(base)
    lower = ":".join(os.path.relpath(layer, base) for layer in layers)
    options = f"lowerdir={lower},upperdir={bundles.upper(bundle)},workdir={bundles.work(bundle)},volatile"
    if len(options) >= 4095:
        raise OSError("the image has more layers than one overlay mount can name")
    sc.mount("overlay", target, "overlay", 0 if config["privileged"] else sc.MS_NODEV, options)


def _mapped(layers: list[str], place: str, userns: int) -> list[str]:
    """Id-mapped copies of the layers' mounts, below a tmpfs at `place` that the root will hide.

    Attached, because an overlay of detached mounts needs Linux 6.15. Its own private copies last as long as it does."""
    sc.mount("layers", place, "tmpfs", _SAFE, "size=64k")
    paths = []
    for number, layer in enumerate(layers):
        tree = sc.open_tree(sc.AT_FDCWD, layer)
        try:
            sc.mount_setattr(tree, sc.MOUNT_ATTR_IDMAP, userns=userns)
        except OSError as error:
            raise OSError(
                f"the file system of {layer} has no id-mapped mounts, which hostUsers: false needs ({error})"
            ) from None
        path = f"{place}/{number}"
        os.mkdir(path)
        fd = os.open(path, DIRECTORY | os.O_CLOEXEC)
        sc.move_mount(tree, fd)
        os.close(fd)
        os.close(tree)
        paths.append(path)
    return paths


def _proc(root: Tree, null: int, procfs: int, *, masked: bool) -> int:
    """procfs, a detached mount or one of this process's pid namespace. Returns the number of its device."""
    proc = root.mount("/proc", "proc", _SAFE) if procfs < 0 else root.attach("/proc", procfs)
    # A verified procfs: masks below go to this descriptor, not to a path (CVE-2025-52881).
    if not sc.is_procfs(proc.fd):
        raise OSError("the container's /proc is not procfs")
    for name in MASKED if masked else ():
        target = proc.lookup(name)
        if target is None:
            continue
        if stat.S_ISDIR(os.fstat(target).st_mode):
            _mask_directory(target)
        else:
            sc.move_mount(sc.open_tree(null), target)
        os.close(target)
    for name in READ_ONLY if masked else ():
        target = proc.lookup(name)
        if target is not None:
            _read_only_copy(target)
            os.close(target)
    device = os.fstat(proc.fd).st_dev
    proc.close()
    return device


def _mask_directory(target: int) -> None:
    path = f"/proc/self/fd/{target}"
    sc.mount("tmpfs", path, "tmpfs", sc.MS_RDONLY | _SAFE, "size=0,nr_inodes=1")


def _read_only_copy(target: int) -> None:
    tree = sc.open_tree(target, recursive=True)
    sc.mount_setattr(tree, sc.MOUNT_ATTR_RDONLY | sc.MOUNT_ATTR_NOSUID | sc.MOUNT_ATTR_NODEV, recursive=True)
    sc.move_mount(tree, target)
    os.close(tree)


def _sys(root: Tree, hierarchies: list[str], *, writable: bool) -> None:
    """sysfs of the pod's network namespace and its cgroups."""
    flags = _SAFE | (0 if writable else sc.MS_RDONLY)
    root.mount("/sys", "sysfs", flags).close()
    if hierarchies == ["cgroup2"]:
        root.mount("/sys/fs/cgroup", "cgroup2", flags).close()
        return
    tree = root.mount("/sys/fs/cgroup", "tmpfs", _SAFE, f"mode=755,size=16k,uid={root.owner},gid={root.owner}")
    for name in hierarchies:
        fstype, options = ("cgroup2", "") if name == "cgroup2" else ("cgroup", name)
        tree.mount_fresh("unified" if name == "cgroup2" else name, fstype, flags, options)
    sc.mount_setattr(tree.fd, sc.MOUNT_ATTR_RDONLY)
    tree.close()


def _mask_sys(root: Tree) -> None:
    for name in MASKED_SYS:
        target = root.lookup("/sys/" + name)
        if target is not None:
            _mask_directory(target)
            os.close(target)


def empty() -> None:
    """Make an empty, read-only folder the root of this process, in a mount namespace of its own. Raises OSError."""
    sc.mount("", "/", "", sc.MS_REC | sc.MS_PRIVATE)
    # On a folder that is sure to be there and that anyone may pass through.
    sc.mount("tmpfs", "/proc", "tmpfs", sc.MS_RDONLY | _SAFE, "size=0,nr_inodes=1,mode=555")
    _pivot(os.open("/proc", DIRECTORY | os.O_CLOEXEC))


def _pivot(root: int) -> None:
    """pivot_root with the old root on top of itself, then detached: no folder for it is needed in the image."""
    os.fchdir(root)
    sc.pivot_root(".", ".")
    sc.umount(".", sc.MNT_DETACH)
    os.chdir("/")
    os.close(root)
