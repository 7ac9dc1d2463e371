"""A pod's shared namespaces, pinned by bind mounts so that they need no process to live."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
import struct

from nodeagent.runtime.native import syscalls as sc

_FLAGS = {"net": sc.CLONE_NEWNET, "ipc": sc.CLONE_NEWIPC, "uts": sc.CLONE_NEWUTS}
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def create(folder: str, hostname: str, host_network: bool) -> None:
    """Runs in a forked child, which it leaves in the new namespaces."""
    names = ["ipc"] if host_network else ["net", "ipc", "uts"]
    os.makedirs(f"{folder}/ns", 0o700, exist_ok=True)
    os.makedirs(f"{folder}/shm", 0o700, exist_ok=True)
    if not os.path.ismount(f"{folder}/shm"):
        sc.mount("shm", f"{folder}/shm", "tmpfs", sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC, "mode=1777,size=64m")
    missing = [name for name in names if not _pinned(f"{folder}/ns/{name}")]
    if not missing:
        return
    sc.unshare(sum(_FLAGS[name] for name in missing))
    if "uts" in missing:
        sc.sethostname(hostname)
    if "net" in missing:
        _loopback_up()
    for name in missing:
        os.close(os.open(f"{folder}/ns/{name}", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        sc.mount(f"/proc/self/ns/{name}", f"{folder}/ns/{name}", "", sc.MS_BIND)


def _pinned(path: str) -> bool:
    """Whether an nsfs file is mounted there."""
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path).st_dev != os.stat(os.path.dirname(path)).st_dev
    return False


def remove(folder: str) -> None:
    for name in ("ns/net", "ns/ipc", "ns/uts", "shm"):
        path = f"{folder}/{name}"
        for _ in range(8):
            try:
                sc.umount(path, sc.MNT_DETACH)
            except OSError:
                break
        with contextlib.suppress(OSError):
            os.rmdir(path) if name == "shm" else os.unlink(path)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = array.array("b", struct.pack("16sH14x", b"lo", 0))
        fcntl.ioctl(sock, _SIOCGIFFLAGS, request)
        flags = struct.unpack_from("16sH", request)[1]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
