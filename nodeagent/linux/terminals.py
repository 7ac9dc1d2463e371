"""Terminals that belong to a container: made in its own devpts, by the process that becomes its program.

A terminal of the node's devpts has no name inside the container, and `tty` says "not a tty". The master goes to whoever
asked as a descriptor; nothing of the container's file system is looked up by a path that it could have changed.
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import stat
import struct
import termios

from nodeagent.linux import syscalls as sc

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TIOCSPTLCK, TIOCGPTPEER = 0x40045431, 0x5441
# A client, standard streams and a channel.
_MAX_DESCRIPTORS = 5
_PTMX, _UNIX98_SLAVES = (5, 2), range(136, 144)


def take(channel: int, user: int, *, console: bool) -> None:
    """In the container's view: open a terminal, send its master through the Unix socket `channel`, and make it standard
    input, output and error. `console` mounts it on /dev/console too. Raises OSError."""
    master, slave = _pair()
    os.fchown(slave, user, -1)
    if console:
        _mount_console(slave)
    send(channel, b"terminal", master)
    os.close(master)
    for target in (0, 1, 2):
        os.dup2(slave, target)
        # It may be one of the three itself, and dup2 onto itself changes nothing.
        os.set_inheritable(target, True)


def control() -> None:
    """As leader of a session: have standard input control it, so that its keys are signals. Raises OSError."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _pair() -> tuple[int, int]:
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        master = sc.openat2(root, "/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
    finally:
        os.close(root)
    _check(master, "/dev/pts/ptmx", lambda major, minor: (major, minor) == _PTMX)
    fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
    # By descriptor: /dev/pts/N could be another mount's by the time a path is looked up.
    slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    _check(slave, "the terminal", lambda major, minor: major in _UNIX98_SLAVES)
    return master, slave


def _check(descriptor: int, name: str, right: Callable[[int, int], bool]) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISCHR(status.st_mode) or not right(os.major(status.st_rdev), os.minor(status.st_rdev)):
        raise OSError(f"{name} of the container is not what it should be")


def _mount_console(slave: int) -> None:
    """The target is a file that is made here, and the source is the checked descriptor: no path is followed
    (CVE-2025-52565). What a volume has put there stays."""
    try:
        target = os.open("/dev/console", os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    tree = sc.open_tree(slave)
    sc.move_mount(tree, target)
    os.close(tree)
    os.close(target)


def resize(master: int, columns: int, rows: int) -> None:
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def send(channel: int, data: bytes, *descriptors: int) -> None:
    """One message with descriptors through a Unix socket."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    with socket.socket(fileno=os.dup(channel)) as sock:
        sock.sendmsg([data], rights)


def receive(channel: socket.socket, size: int = 64) -> tuple[bytes, list[int]]:
    """One message of at most `size` bytes and its descriptors; empty at the end."""
    data, ancillary, _, _ = channel.recvmsg(size, socket.CMSG_SPACE(_MAX_DESCRIPTORS * 4), socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(payload[: len(payload) - len(payload) % descriptors.itemsize])
    return data, list(descriptors)
