"""The system calls that Python 3.11 lacks, by libc and by number. Each raises OSError with the call's name.

Numbers from 424 on are the same on every architecture; source: the kernel's syscall tables.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_RELATIME = 32, 4096, 16384, 1 << 21
MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 18, 1 << 19, 1 << 20
MNT_DETACH = 2

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_FDCWD = -100
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_IDMAP = 0x01, 0x02, 0x04, 0x00100000

RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS = 0x01, 0x02, 0x04
RESOLVE_BENEATH, RESOLVE_IN_ROOT = 0x08, 0x10
O_PATH = 0o10000000

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 1, 4, 15, 24, 38, 22
SECCOMP_MODE_FILTER = 2
CLOSE_RANGE_CLOEXEC = 4

# Not the platform module's: importing it costs a megabyte in every monitor.
_MACHINE = os.uname().machine
_NR_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}[_MACHINE]
_NR_CAPSET = {"x86_64": 126, "aarch64": 91}[_MACHINE]
_NR_RT_SIGACTION = {"x86_64": 13, "aarch64": 134}[_MACHINE]
_NR_KEYCTL = {"x86_64": 250, "aarch64": 219}[_MACHINE]
_KEYCTL_JOIN_SESSION_KEYRING = 1
# linux/magic.h
_PROC_SUPER_MAGIC = 0x9FA0
# A resolution that a rename or a mount disturbed is tried again, as openat2(2) says; someone may be doing it on purpose.
_TRIES = 128
_NR_OPEN_TREE, _NR_MOVE_MOUNT, _NR_MOUNT_SETATTR = 428, 429, 442
_NR_OPENAT2, _NR_CLOSE_RANGE = 437, 436
_NR_CLONE3 = 435
_NR_CLONE = {"x86_64": 56, "aarch64": 220}[_MACHINE]
_CLONE_PARENT = 0x8000
_CLONE_INTO_CGROUP = 0x200000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
# Calls that keep the interpreter's lock: a fork must not let go of it in between.
_held = ctypes.PyDLL(None, use_errno=True)
_held.syscall.restype = ctypes.c_long


def _check(result: int, name: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def _syscall(name: str, number: int, *arguments: Any) -> int:
    return _check(_libc.syscall(ctypes.c_long(number), *arguments), name)


def unshare(flags: int) -> None:
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def fork(flags: int, cgroup: int = -1) -> int:
    """fork(2) into new namespaces, and into the v2 cgroup of a descriptor.

    Moving a process later waits for a grace period of RCU, some 6 ms on an idle machine; being born there does not.
    """
    if cgroup >= 0:
        flags |= _CLONE_INTO_CGROUP
    raw = struct.pack("11Q", flags, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, max(cgroup, 0))
    buffer = ctypes.create_string_buffer(raw, len(raw))
    # As os.fork does around its own call.
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = int(_held.syscall(ctypes.c_long(_NR_CLONE3), buffer, ctypes.c_size_t(len(raw))))
    number = ctypes.get_errno()
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, f"clone3: {os.strerror(number)}")
    return pid


def fork_sibling() -> int:
    """fork(2), with this process's parent as the parent. By clone, which filters of containers allow."""
    nothing = [ctypes.c_void_p(None)] * 4
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = int(_held.syscall(ctypes.c_long(_NR_CLONE), ctypes.c_ulong(_CLONE_PARENT | signal.SIGCHLD), *nothing))
    number = ctypes.get_errno()
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, f"clone: {os.strerror(number)}")
    return pid


def setns(fd: int, flags: int) -> None:
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(flags)), "setns")


def mount(source: str, target: str | os.PathLike[str], fstype: str, flags: int = 0, data: str = "") -> None:
    result = _libc.mount(
        source.encode(), os.fsencode(target), fstype.encode() or None, ctypes.c_ulong(flags), data.encode() or None
    )
    _check(result, f"mount {fstype or source} on {target}")


def umount(target: str | os.PathLike[str], flags: int = 0) -> None:
    _check(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)), f"umount {target}")


def sethostname(name: str) -> None:
    raw = name.encode()
    _check(_libc.sethostname(raw, ctypes.c_size_t(len(raw))), "sethostname")


def pivot_root(new: str, old: str) -> None:
    _syscall("pivot_root", _NR_PIVOT_ROOT, ctypes.c_char_p(os.fsencode(new)), ctypes.c_char_p(os.fsencode(old)))


def open_tree(fd: int, path: str = "", *, recursive: bool = False) -> int:
    """A detached copy of the mount at a descriptor or path."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    raw = ctypes.c_char_p(os.fsencode(path))
    return _syscall("open_tree", _NR_OPEN_TREE, ctypes.c_int(fd), raw, ctypes.c_uint(flags))


def move_mount(tree: int, target_fd: int) -> None:
    """Attach a detached mount on what a descriptor holds, whatever its path has become."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    empty = ctypes.c_char_p(b"")
    _syscall("move_mount", _NR_MOVE_MOUNT, ctypes.c_int(tree), empty, ctypes.c_int(target_fd), empty, ctypes.c_uint(flags))


def mount_setattr(
    fd: int, attributes: int, *, clear: int = 0, propagation: int = 0, userns: int = 0, recursive: bool = False
) -> None:
    """Change a mount by descriptor. `userns` is a user namespace's descriptor for MOUNT_ATTR_IDMAP."""
    raw = struct.pack("QQQQ", attributes, clear, propagation, userns)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    buffer = ctypes.create_string_buffer(raw, len(raw))
    number, empty = _NR_MOUNT_SETATTR, ctypes.c_char_p(b"")
    _syscall("mount_setattr", number, ctypes.c_int(fd), empty, ctypes.c_uint(flags), buffer, ctypes.c_size_t(len(raw)))


def openat2(fd: int, path: str, flags: int, *, resolve: int = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, mode: int = 0) -> int:
    """Open below `fd` as if it were the root: no symlink and no `..` leads out."""
    raw = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, resolve)
    buffer = ctypes.create_string_buffer(raw, len(raw))
    name = ctypes.c_char_p(os.fsencode(path))
    for _ in range(_TRIES):
        try:
            return _syscall(path, _NR_OPENAT2, ctypes.c_int(fd), name, buffer, ctypes.c_size_t(len(raw)))
        except BlockingIOError:
            continue
    raise OSError(errno.EAGAIN, f"{path} is being changed while it is opened")


def is_procfs(fd: int) -> bool:
    """Whether a descriptor lies on a procfs, by its file system's magic number."""
    buffer = ctypes.create_string_buffer(256)
    _check(_libc.fstatfs(ctypes.c_int(fd), buffer), "fstatfs")
    return bool(ctypes.c_long.from_buffer(buffer).value == _PROC_SUPER_MAGIC)


def set_fs_ids(uid: int, gid: int) -> None:
    """Whose files this process makes from now on (setfsuid(2)); a uid other than 0 sets aside what root may on files."""
    _libc.setfsgid(ctypes.c_uint(gid))
    _libc.setfsuid(ctypes.c_uint(uid))


def new_session_keyring() -> None:
    """An empty session keyring, so that the host's cannot be searched through this process's."""
    _syscall("keyctl", _NR_KEYCTL, ctypes.c_int(_KEYCTL_JOIN_SESSION_KEYRING), ctypes.c_void_p(None))


def close_range_cloexec(first: int) -> None:
    """Mark every descriptor from `first` on close-on-exec (CVE-2024-21626: none may reach the container)."""
    limit, flag = ctypes.c_uint(0xFFFFFFFF), ctypes.c_uint(CLOSE_RANGE_CLOEXEC)
    _syscall("close_range", _NR_CLOSE_RANGE, ctypes.c_uint(first), limit, flag)


def prctl(option: int, *arguments: Any) -> int:
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    return _check(_libc.prctl(ctypes.c_int(option), *padded), f"prctl {option}")


def set_name(name: bytes) -> None:
    """What ps(1) shows of this process, at most 15 bytes."""
    buffer = ctypes.create_string_buffer(name)
    prctl(PR_SET_NAME, ctypes.addressof(buffer))


def default_action(number: int) -> None:
    """Take the default action for a signal, also for the two that glibc keeps for itself and hides."""
    # struct sigaction of the kernel: handler SIG_DFL, no flags, no restorer, an empty mask.
    action = ctypes.create_string_buffer(32)
    _syscall("rt_sigaction", _NR_RT_SIGACTION, ctypes.c_int(number), action, None, ctypes.c_size_t(8))


def load_seccomp(program: bytes) -> None:
    """Install a compiled BPF filter (struct sock_filter, 8 bytes each)."""
    body = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(body)))
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(header))


def capset(mask: int) -> None:
    """Permitted and effective become `mask`, inheritable empty (CVE-2022-24769)."""
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0))
    data = ctypes.create_string_buffer(struct.pack("IIIIII", low, low, 0, high, high, 0))
    _syscall("capset", _NR_CAPSET, header, data)
