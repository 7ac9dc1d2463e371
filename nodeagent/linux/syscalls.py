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
    from typing import Any, Protocol

    class Function(Protocol):
        """A C function: ints, bytes and buffers in, its result out; errno is ctypes.get_errno()."""

        def __call__(self, *arguments: Any) -> int: ...


CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC = 4096, 16384
MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 18, 1 << 19, 1 << 20
MNT_DETACH = 2

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_FDCWD = -100
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_IDMAP = 0x01, 0x02, 0x04, 0x08, 0x00100000

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
_NR_FSOPEN, _NR_FSCONFIG, _NR_FSMOUNT = 430, 431, 432
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_CMD_CREATE = 6
_NR_OPENAT2, _NR_CLOSE_RANGE = 437, 436
_NR_CLONE3 = 435
_NR_CLONE = {"x86_64": 56, "aarch64": 220}[_MACHINE]
_CLONE_PARENT = 0x8000
_CLONE_INTO_CGROUP = 0x200000000

_libc = ctypes.CDLL(None, use_errno=True)
# Keeps the interpreter's lock: a fork must not let go of it in between.
_held = ctypes.PyDLL(None, use_errno=True)
_INT, _UNSIGNED, _LONG, _SIZE = ctypes.c_int, ctypes.c_uint, ctypes.c_long, ctypes.c_size_t
_ULONG, _TEXT, _POINTER = ctypes.c_ulong, ctypes.c_char_p, ctypes.c_void_p


def _function(name: str, *types: Any, library: ctypes.CDLL = _libc, result: Any = _INT) -> Function:
    """Its types are said once, here: a start makes some three hundred calls, and converting by hand in each costs more than
    most of them."""
    function = library[name]
    function.argtypes, function.restype = types, result
    return function


def _syscall(*types: Any, library: ctypes.CDLL = _libc) -> Function:
    """syscall(2): its number, and arguments of these types."""
    return _function("syscall", _LONG, *types, library=library, result=_LONG)


_unshare = _function("unshare", _INT)
_setns = _function("setns", _INT, _INT)
_mount = _function("mount", _TEXT, _TEXT, _TEXT, _ULONG, _TEXT)
_umount = _function("umount2", _TEXT, _INT)
_sethostname = _function("sethostname", _TEXT, _SIZE)
_fstatfs = _function("fstatfs", _INT, _POINTER)
_setfsuid, _setfsgid = _function("setfsuid", _UNSIGNED), _function("setfsgid", _UNSIGNED)
_prctl = _function("prctl", _INT, _ULONG, _ULONG, _ULONG, _ULONG)
_clone3 = _syscall(_TEXT, _SIZE, library=_held)
_clone = _syscall(_ULONG, _POINTER, _POINTER, _POINTER, _POINTER, library=_held)
_pivot_root = _syscall(_TEXT, _TEXT)
_open_tree = _syscall(_INT, _TEXT, _UNSIGNED)
_move_mount = _syscall(_INT, _TEXT, _INT, _TEXT, _UNSIGNED)
_mount_setattr = _syscall(_INT, _TEXT, _UNSIGNED, _TEXT, _SIZE)
_fsopen = _syscall(_TEXT, _UNSIGNED)
_fsconfig = _syscall(_INT, _UNSIGNED, _TEXT, _POINTER, _INT)
_fsmount = _syscall(_INT, _UNSIGNED, _UNSIGNED)
_openat2 = _syscall(_INT, _TEXT, _TEXT, _SIZE)
_keyctl = _syscall(_INT, _POINTER)
_close_range = _syscall(_UNSIGNED, _UNSIGNED, _UNSIGNED)
_rt_sigaction = _syscall(_INT, _TEXT, _POINTER, _SIZE)
_capset = _syscall(_TEXT, _TEXT)
_before_fork, _after_fork_here, _after_fork_in_child = (
    _function(f"PyOS_{name}", library=ctypes.pythonapi, result=None)
    for name in ("BeforeFork", "AfterFork_Parent", "AfterFork_Child")
)


def _check(result: int, name: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    _check(_unshare(flags), "unshare")


def fork(flags: int, cgroup: int = -1) -> int:
    """fork(2) into new namespaces, and into the v2 cgroup of a descriptor.

    Moving a process later waits for a grace period of RCU, some 6 ms on an idle machine; being born there does not.
    """
    if cgroup >= 0:
        flags |= _CLONE_INTO_CGROUP
    raw = struct.pack("11Q", flags, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, max(cgroup, 0))
    return _forked("clone3", _clone3, _NR_CLONE3, raw, len(raw))


def fork_sibling() -> int:
    """fork(2), with this process's parent as the parent. By clone, which filters of containers allow."""
    return _forked("clone", _clone, _NR_CLONE, _CLONE_PARENT | signal.SIGCHLD, None, None, None, None)


def _forked(name: str, call: Function, *arguments: Any) -> int:
    """With what os.fork does around its own call."""
    _before_fork()
    pid = call(*arguments)
    number = ctypes.get_errno()
    if pid == 0:
        _after_fork_in_child()
        return 0
    _after_fork_here()
    if pid < 0:
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return pid


def setns(fd: int, flags: int) -> None:
    _check(_setns(fd, flags), "setns")


def mount(source: str, target: str | os.PathLike[str], fstype: str, flags: int = 0, data: str = "") -> None:
    result = _mount(source.encode(), os.fsencode(target), fstype.encode() or None, flags, data.encode() or None)
    _check(result, f"mount {fstype or source} on {target}")


def umount(target: str | os.PathLike[str], flags: int = 0) -> None:
    _check(_umount(os.fsencode(target), flags), f"umount {target}")


def sethostname(name: str) -> None:
    raw = name.encode()
    _check(_sethostname(raw, len(raw)), "sethostname")


def pivot_root(new: str, old: str) -> None:
    _check(_pivot_root(_NR_PIVOT_ROOT, os.fsencode(new), os.fsencode(old)), "pivot_root")


def open_tree(fd: int, path: str = "", *, recursive: bool = False) -> int:
    """A detached copy of the mount at a descriptor or path."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    return _check(_open_tree(_NR_OPEN_TREE, fd, os.fsencode(path), flags), "open_tree")


def move_mount(tree: int, target_fd: int) -> None:
    """Attach a detached mount on what a descriptor holds, whatever its path has become."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    _check(_move_mount(_NR_MOVE_MOUNT, tree, b"", target_fd, b"", flags), "move_mount")


def mount_setattr(
    fd: int, attributes: int, *, clear: int = 0, propagation: int = 0, userns: int = 0, recursive: bool = False
) -> None:
    """Change a mount by descriptor. `userns` is a user namespace's descriptor for MOUNT_ATTR_IDMAP."""
    raw = struct.pack("QQQQ", attributes, clear, propagation, userns)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    _check(_mount_setattr(_NR_MOUNT_SETATTR, fd, b"", flags, raw, len(raw)), "mount_setattr")


def fsopen(fstype: str) -> int:
    """The context of a file system that is to be made (fsopen(2)); it shows what its opener sees."""
    return _check(_fsopen(_NR_FSOPEN, fstype.encode(), _FSOPEN_CLOEXEC), f"fsopen {fstype}")


def fsconfig_create(context: int) -> None:
    _check(_fsconfig(_NR_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0), "fsconfig")


def fsmount(context: int, attributes: int) -> int:
    """A detached mount of the file system that was made."""
    return _check(_fsmount(_NR_FSMOUNT, context, _FSMOUNT_CLOEXEC, attributes), "fsmount")


def openat2(fd: int, path: str, flags: int, *, resolve: int = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, mode: int = 0) -> int:
    """Open below `fd` as if it were the root: no symlink and no `..` leads out."""
    raw = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, resolve)
    name = os.fsencode(path)
    for _ in range(_TRIES):
        try:
            return _check(_openat2(_NR_OPENAT2, fd, name, raw, len(raw)), path)
        except BlockingIOError:
            continue
    raise OSError(errno.EAGAIN, f"{path} is being changed while it is opened")


def is_procfs(fd: int) -> bool:
    """Whether a descriptor lies on a procfs, by its file system's magic number."""
    buffer = ctypes.create_string_buffer(256)
    _check(_fstatfs(fd, buffer), "fstatfs")
    return bool(ctypes.c_long.from_buffer(buffer).value == _PROC_SUPER_MAGIC)


def set_fs_ids(uid: int, gid: int) -> None:
    """Whose files this process makes from now on (setfsuid(2)); a uid other than 0 sets aside what root may on files."""
    _setfsgid(gid)
    _setfsuid(uid)


def new_session_keyring() -> None:
    """An empty session keyring, so that the host's cannot be searched through this process's."""
    _check(_keyctl(_NR_KEYCTL, _KEYCTL_JOIN_SESSION_KEYRING, None), "keyctl")


def close_range_cloexec(first: int) -> None:
    """Mark every descriptor from `first` on close-on-exec (CVE-2024-21626: none may reach the container)."""
    _check(_close_range(_NR_CLOSE_RANGE, first, 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC), "close_range")


def prctl(option: int, first: int = 0, second: int = 0) -> int:
    return _check(_prctl(option, first, second, 0, 0), f"prctl {option}")


def set_name(name: bytes) -> None:
    """What ps(1) shows of this process, at most 15 bytes."""
    buffer = ctypes.create_string_buffer(name)
    prctl(PR_SET_NAME, ctypes.addressof(buffer))


def default_action(number: int) -> None:
    """Take the default action for a signal, also for the two that glibc keeps for itself and hides."""
    # struct sigaction of the kernel: handler SIG_DFL, no flags, no restorer, an empty mask.
    _check(_rt_sigaction(_NR_RT_SIGACTION, number, bytes(32), None, 8), "rt_sigaction")


def load_seccomp(program: bytes) -> None:
    """Install a compiled BPF filter (struct sock_filter, 8 bytes each)."""
    body = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(body)))
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(header))


def capset(mask: int) -> None:
    """Permitted and effective become `mask`, inheritable empty (CVE-2022-24769)."""
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = struct.pack("IIIIII", low, low, 0, high, high, 0)
    _check(_capset(_NR_CAPSET, struct.pack("Ii", 0x20080522, 0), data), "capset")
