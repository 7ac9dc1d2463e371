"""What confines a container's processes and can only be opened on the host's side, before its view is the container's."""

from __future__ import annotations

import contextlib
import os

from nodeagent.linux import smallfiles
from nodeagent.linux import syscalls as sc

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from nodeagent.launcher.protocol import Config


# Bytes of an instruction of BPF (linux/filter.h, struct sock_filter).
INSTRUCTION = 8


class Confinement:
    """What is opened on the host's side and used where the host cannot be seen: the seccomp filter, the user namespace
    (-1: none), and the host's procfs, to which the AppArmor profile is written (CVE-2025-52881)."""

    def __init__(self, config: Config) -> None:
        self.userns = os.open(f"{config['sandbox']}/ns/user", os.O_RDONLY | os.O_CLOEXEC) if config["ids"] else -1
        self.filter = smallfiles.read(config["seccomp"]) if config["seccomp"] else b""
        if config["seccomp"] and (not self.filter or len(self.filter) % INSTRUCTION):
            # Without this a file that lost its content would mean no filter at all.
            raise OSError(f"the seccomp filter {config['seccomp']} is damaged")
        self.profile: str = config["apparmor"]
        self.procfs = -1
        if self.profile:
            self.procfs = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if not sc.is_procfs(self.procfs):
                raise OSError("/proc of the host is not procfs")

    def enter_user(self) -> None:
        """Become root of the user namespace, instead of the host's, which it does not have."""
        if self.userns >= 0:
            sc.setns(self.userns, sc.CLONE_NEWUSER)
            become_root()

    def change_profile(self) -> None:
        """Have the next exec take the AppArmor profile on. Raises OSError."""
        if not self.profile:
            return
        resolve = sc.RESOLVE_BENEATH | sc.RESOLVE_NO_MAGICLINKS | sc.RESOLVE_NO_XDEV
        for name in ("self/attr/apparmor/exec", "self/attr/exec"):
            with contextlib.suppress(FileNotFoundError):
                fd = sc.openat2(self.procfs, name, os.O_WRONLY, resolve=resolve)
                os.write(fd, b"exec " + self.profile.encode())
                os.close(fd)
                return
        raise OSError("AppArmor is not enabled on the host")


def hide() -> None:
    """Until it is the program, no process of a container may trace this one or see its descriptors (CVE-2016-9962)."""
    sc.prctl(sc.PR_SET_DUMPABLE, 0)


def close_but(keep: set[int]) -> None:
    """Close every descriptor but these."""
    edges = sorted(keep)
    for low, high in zip((-1, *edges), (*edges, 4096), strict=True):
        # closerange(0, 0) would close all there are: its end is unsigned to the kernel.
        if low + 1 < high:
            os.closerange(low + 1, high)


def become_root() -> None:
    """Of the user namespace that this process has entered."""
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
