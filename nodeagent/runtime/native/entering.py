"""How a process comes into a pid namespace in which others are: last, and with nothing left to be taken (CVE-2016-9962).

Whoever may trace in there sees it from its first moment, and through it the descriptors, the root and the powers that it
has. So it is not born there: a helper outside does all that needs the host (mounts, namespaces), gives up what the container
is not to have, and forks into the namespace what becomes the program. Only procfs must be asked for from within, for it
shows the namespace of who opens it. That is done by a process that has an empty root, one socket, and no power over
anything but a user namespace of its own.
"""

from __future__ import annotations

import os
import select
import signal
import socket

from nodeagent.runtime.native import confinement, procfs, reaper, rootfs, terminals
from nodeagent.runtime.native import syscalls as sc

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Milliseconds for procfs to be opened from within.
_ANSWERS_WITHIN = 10_000
_ATTRIBUTES = sc.MOUNT_ATTR_NOSUID | sc.MOUNT_ATTR_NODEV | sc.MOUNT_ATTR_NOEXEC


def namespace(config: dict[str, Any]) -> int:
    """A descriptor of the pid namespace of others that a container is to be in; -1 when it has its own, or the node's.

    Raises OSError."""
    match config["pid_namespace"]:
        case "pod":
            if not reaper.alive(config["sandbox"]):
                raise OSError("process 1 of the pod's pid namespace has gone")
            return os.open(f"{config['sandbox']}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        case "container":
            pid, started = config["pid_target"]
            fd = os.pidfd_open(pid)
            if procfs.start_time(pid) != started:
                raise OSError("the container whose processes it is to see is not running")
            return fd
    return -1


def proc(namespace: int) -> int:
    """A detached mount of procfs as it is in a pid namespace. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        helper = os.fork()
        if helper == 0:
            _ask(namespace, theirs)
        theirs.close()
        poll = select.poll()
        poll.register(ours, select.POLLIN)
        # Who may trace in there may also hold it up.
        if not poll.poll(_ANSWERS_WITHIN):
            os.kill(helper, signal.SIGKILL)
        os.waitpid(helper, 0)
        said, descriptors = terminals.receive(ours, 256)
    if not descriptors:
        raise OSError(f"procfs of the pod's pid namespace: {said.decode(errors='replace') or 'its helper was killed'}")
    # The file system comes to be here, with our powers; who opened it only said whose processes it shows.
    context = descriptors[0]
    sc.fsconfig_create(context)
    mount = sc.fsmount(context, _ATTRIBUTES)
    os.close(context)
    return mount


def _ask(namespace: int, channel: socket.socket) -> None:
    """In the helper, still outside: put aside all that is the host's, then have a child inside open procfs."""
    try:
        sc.prctl(sc.PR_SET_PDEATHSIG, signal.SIGKILL)
        confinement.hide()
        sc.setns(namespace, sc.CLONE_NEWPID)
        sc.new_session_keyring()
        sc.unshare(sc.CLONE_NEWUSER | sc.CLONE_NEWNS)
        rootfs.empty()
        close_but({channel.fileno()})
        confinement.hide()
        inside = os.fork()
        if inside == 0:
            sc.prctl(sc.PR_SET_PDEATHSIG, signal.SIGKILL)
            terminals.send(channel.fileno(), b"procfs", sc.fsopen("proc"))
            os._exit(0)
        os.waitpid(inside, 0)
    except BaseException as error:
        channel.send(str(error).encode()[:200] or b"failed")
    finally:
        os._exit(0)


def fork(report: int, keep: set[int]) -> None:
    """Go on as a child in the pid namespace that this process has set for its children, as its parent's child and with
    no descriptors but `keep`; the pid of that child goes to `report`. For whoever has given up everything else."""
    close_but(keep | {report})
    pid = sc.fork_sibling()
    if pid:
        os.write(report, b"%d" % pid)
        os._exit(0)
    os.close(report)


def entered(helper: int, failures: int, reports: int) -> int:
    """Wait until what the helper forks is its program. `failures` and `reports` are read and closed. Returns its pid.

    Raises OSError with what went wrong."""
    number = os.read(reports, 32)
    os.close(reports)
    failure = b""
    while chunk := os.read(failures, 4096):
        failure += chunk
    os.close(failures)
    os.waitpid(helper, 0)
    if failure and number:
        os.waitpid(int(number), 0)
    if failure or not number:
        raise OSError(failure.decode(errors="replace") or "the process that starts the program was killed")
    return int(number)


def close_but(keep: set[int]) -> None:
    """Close every descriptor but these."""
    edges = sorted(keep)
    for low, high in zip((-1, *edges), (*edges, 4096), strict=True):
        # closerange(0, 0) would close all there are: its end is unsigned to the kernel.
        if low + 1 < high:
            os.closerange(low + 1, high)
